"""One process of the cluster, from its start to its end.

A process says that it serves by the line ``ready HOST:PORT`` in its log; it stops gracefully on SIGTERM. It dies with
this process, whatever ends this process.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from asyncio.subprocess import Process
from contextlib import suppress
from pathlib import Path

from mishards.deadline import Deadline
from mishards.errors import ProcessFailed, StartError
from mishards.local import tether
from mishards.local.cluster import ProcessSpec

_READY = re.compile(rb"^ready (\S+:\d+)$", re.MULTILINE)
_POLL_S = 0.03


class Child:
    """A started process. Belongs to the event loop of the main thread: the kernel ties it to the starting thread."""

    def __init__(self, spec: ProcessSpec, address: str, process: Process, log: Path, log_start: int) -> None:
        self.spec = spec
        self.address = address
        """Where it serves; port 0 until it has said which one it took."""
        self.served = False
        """Was it ever ready?"""
        self._process = process
        self._log = log
        self._log_start = log_start
        self._started = time.monotonic()

    @classmethod
    async def start(cls, spec: ProcessSpec, address: str, log: Path) -> Child:
        """Start the process, to listen on ``address``, with its output at the end of ``log``.

        Raises StartError where the log cannot be written or no process can be had.
        """
        descriptor, log_start = _open_log(log)
        try:
            process = await asyncio.create_subprocess_exec(
                *_tethered(spec.command(address)),
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,  # a Ctrl-C in the terminal is for this process alone
            )
        except OSError as error:
            raise StartError(f"cannot start {spec.name}: {error.strerror}") from error
        finally:
            os.close(descriptor)
        return cls(spec, address, process, log, log_start)

    @property
    def pid(self) -> int:
        """Its process id, also its process group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Has its end not been seen yet?"""
        return self._process.returncode is None

    @property
    def age_s(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._started

    async def ready(self, deadline: Deadline) -> str:
        """Wait until it serves and return its ``host:port``. Raises ProcessFailed when it ends or the time does."""
        while True:
            ended = not self.alive  # asked before the log is read: what it said last is not missed
            said = _READY.search(self._output())
            if said is not None:
                self.served, self.address = True, said.group(1).decode()
                return self.address
            if ended:
                raise ProcessFailed(self.spec.name, f"ended ({self.end()}) before it was ready", self._output_tail())
            if deadline.remaining() == 0:
                raise ProcessFailed(self.spec.name, "did not become ready in time", self._output_tail())
            await asyncio.sleep(_POLL_S)

    async def wait(self) -> None:
        """Wait for its end."""
        await self._process.wait()

    def end(self) -> str:
        """How it ended, for people."""
        status = self._process.returncode
        if status is not None and status < 0:
            return f"killed by {signal.Signals(-status).name}"
        return f"exit code {status}"

    def terminate(self) -> None:
        """Ask it to stop gracefully."""
        if self.alive:
            self._process.terminate()

    def kill(self) -> None:
        """End it now, and whatever it started."""
        if self.alive:
            with suppress(ProcessLookupError):  # it has ended, and the loop has not heard of it yet
                os.killpg(self.pid, signal.SIGKILL)

    def _output(self) -> bytes:
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            return log.read()

    def _output_tail(self, lines: int = 15) -> str:
        return "\n".join(self._output().decode(errors="replace").splitlines()[-lines:])


def _open_log(log: Path) -> tuple[int, int]:
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StartError(f"cannot write {log}: {error.strerror}; choose another folder with --dir") from error
    return descriptor, os.fstat(descriptor).st_size


def _tethered(command: tuple[str, ...]) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *command)
