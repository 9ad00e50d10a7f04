"""Child processes of a test: started, watched, paused, killed, and always reaped."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeVar

from harness.waiting import eventually

_Self = TypeVar("_Self", bound="Program")

_CLOSE_S = 10
"""How long a program may take to end when it is asked to."""

_open: list[Program] = []
"""Programs that were started and not yet closed, oldest first."""


class Program:
    """One program, started by a test, with its output in a log file.

    A program may be started again after it ended; the log goes on. ``close`` (or the end of the ``with`` block, or of
    the interpreter) ends it, and kills what is left of it and of the processes that it started.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        logs: Path | None = None,
    ) -> None:
        """Describe a program; nothing runs yet.

        Args:
            name: Names the log file ``folder/NAME.log`` and the messages.
            command: The program and its arguments.
            folder: Where the log goes and where the program runs.
            environment: Set in addition to what this process has.
            logs: A folder in which the program writes further ``*.log`` files, shown on failure too.
        """
        self.name = name
        self.command = [str(part) for part in command]
        self.folder = folder
        self.log = folder / f"{name}.log"
        self._environment = dict(environment or {})
        self._logs = logs
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Program {self.name} {f'pid {self._process.pid}' if self._process else 'not started'}>"

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, ready: Callable[[], object] | None = None, timeout_s: float = 30) -> None:
        """Start the program and wait until ``ready`` is true.

        Raises:
            AssertionError: when it ends or is not ready within ``timeout_s``; the message has the end of its log.
        """
        if self.running:
            raise AssertionError(f"{self.name} is running already")
        log: IO[bytes]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if self not in _open:
            _open.append(self)
            atexit.register(self.close)
        if ready is not None:
            self._wait_until(ready, timeout_s)

    def _wait_until(self, ready: Callable[[], object], timeout_s: float) -> None:
        def ready_or_ended() -> bool:
            return bool(ready()) or not self.running

        eventually(ready_or_ended, timeout_s, lambda: f"{self.name} is ready; the end of its log:\n{self.log_tail()}")
        if not self.running:
            raise AssertionError(f"{self.name} ended with {self.exit_code}; the end of its log:\n{self.log_tail()}")

    @property
    def pid(self) -> int:
        """The process id of the last start."""
        return self._started.pid

    @property
    def running(self) -> bool:
        """Has it been started and not ended? A paused program is running."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._started.poll()

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise AssertionError(f"{self.name} was not started")
        return self._process

    def signal(self, number: int) -> None:
        """Send a signal to the program itself, not to its children."""
        self._started.send_signal(number)

    def kill(self) -> None:
        """Let it die at once (SIGKILL), as in a crash, and reap it."""
        self._started.kill()
        self._started.wait(10)

    def pause(self) -> None:
        """Freeze it (SIGSTOP): its connections stay open and nothing answers."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen program go on (SIGCONT)."""
        self.signal(signal.SIGCONT)

    def terminate(self, timeout_s: float = 10) -> int:
        """Ask it to end (SIGTERM) and return its exit code.

        Raises:
            AssertionError: when it still runs after ``timeout_s``.
        """
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float) -> int:
        """Return the exit code once it has ended by itself.

        Raises:
            AssertionError: when it still runs after ``timeout_s``.
        """
        try:
            return self._started.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} still runs after {timeout_s:g} s; the end of its log:\n{self.log_tail()}"
            ) from None

    def close(self) -> None:
        """Ask it to end, then kill what is left of it and of its children; may be called twice."""
        if self._process is not None:
            if self.running:
                self.resume()
                self.signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_CLOSE_S)
            with contextlib.suppress(ProcessLookupError):  # the whole group has ended
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
        if self in _open:
            _open.remove(self)
            atexit.unregister(self.close)

    def log_text(self) -> str:
        """All that it has printed."""
        return _text(self.log)

    def log_tail(self, lines: int = 40) -> str:
        """The end of what it, and of what each program below it, has printed."""
        further = sorted(self._logs.glob("*.log")) if self._logs else []
        return "\n".join([_tail(self.log, lines), *(f"--- {path.name}\n{_tail(path, lines)}" for path in further)])


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _tail(path: Path, lines: int) -> str:
    return "\n".join(_text(path).splitlines()[-lines:])


def open_programs() -> list[Program]:
    """Return the programs that were started and not yet closed."""
    return list(_open)


@contextlib.contextmanager
def server_folder(name: str) -> Iterator[Path]:
    """Lend a new folder that a server may own which refuses to run as root.

    It lies directly below the system's temporary folder, because an unprivileged user cannot enter the folders that
    pytest makes for root; and its path is short enough for a Unix socket.
    """
    with tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True) as path:
        if os.geteuid() == 0:
            shutil.chown(path, "nobody", "nogroup")
        yield Path(path)


def unprivileged(command: Sequence[str | Path]) -> list[str | Path]:
    """Return a command that runs as user nobody where we are root; the process stays our direct child."""
    if os.geteuid() != 0:
        return list(command)
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]


def find_program(name: str) -> Path | None:
    """Return where a program is installed, also when it lies where only root looks."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
    return Path(found) if found else None
