"""Starts the processes of a cluster, starts them again when they die, and stops them in order.

It knows processes and ``local.json``, and nothing of what the processes do.

Invariants: ``local.json`` names exactly the processes whose end has not been seen; a process that died starts again on
the port it had; ``stop`` returns within 10 s, and nothing that was started is alive then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mishards.deadline import Deadline
from mishards.errors import ProcessFailed, StartError
from mishards.local.child import Child
from mishards.local.cluster import ProcessSpec, Role
from mishards.local.state import ProcessState, write_state

READY_S = 120.0
"""Longest start of one process; replaying a long write-ahead log takes its time."""

STOP_S = 8.5
"""Time for the graceful stop of all processes together; what is left then is killed."""

_KILL_S = 1.0
"""Time for the kernel to end what was killed."""

_STOP_SHARES: tuple[tuple[Role, float], ...] = (("router", 3.0), ("readonly", 2.0), ("writable", STOP_S))
"""The order of stopping, and the longest time the next role waits for one: seconds."""

_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.1, 5.0
_HEALTHY_S = 30.0


def restart_delay(failures: int) -> float:
    """Seconds to wait before a process starts again, after it has died young ``failures`` times in a row."""
    return min(_FIRST_DELAY_S * 2.0 ** min(failures, 16), _LONGEST_DELAY_S)


class Supervisor:
    """Owns the processes of one cluster. Belongs to the event loop of the main thread; is started and stopped once."""

    def __init__(
        self, specs: Sequence[ProcessSpec], folder: Path, *, restart: bool, report: Callable[[str], None]
    ) -> None:
        self._specs = specs
        self._folder = folder
        self._restart = restart
        self._report = report
        self._children: dict[str, Child] = {}
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the writable node, then all others at once; return when every process is ready.

        Raises ProcessFailed when one cannot start; ``stop`` is still owed then.
        """
        self._record()
        await self._start_all(spec for spec in self._specs if spec.role == "writable")
        await self._start_all(spec for spec in self._specs if spec.role != "writable")

    def address_of(self, name: str) -> str:
        """The ``host:port`` on which the started process of that name serves."""
        return self._children[name].address

    async def stop(self) -> None:
        """Stop the routers, then the read-only nodes, then the writable node; kill what does not stop in time."""
        deadline = Deadline.after(STOP_S)
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for role, share_s in _STOP_SHARES:
            children = [child for child in self._children.values() if child.spec.role == role and child.alive]
            for child in children:
                child.terminate()
            await _wait(children, deadline.earlier(share_s))
        left = [child for child in self._children.values() if child.alive]
        for child in left:
            self._report(f"{child.spec.name} (process {child.pid}) does not stop: killed")
            child.kill()
        await _wait(left, Deadline.after(_KILL_S))
        self._record()

    async def _start_all(self, specs: Iterable[ProcessSpec]) -> None:
        await asyncio.gather(*(self._start_first(spec) for spec in specs))

    async def _start_first(self, spec: ProcessSpec) -> None:
        child = await self._spawn(spec, spec.address)
        await child.ready(Deadline.after(READY_S))
        self._record()
        keeper = asyncio.create_task(self._keep(child), name=f"keep {spec.name}")
        keeper.add_done_callback(self._keeper_ended)
        self._keepers.append(keeper)

    def _keeper_ended(self, keeper: asyncio.Task[None]) -> None:
        if not keeper.cancelled() and keeper.exception() is not None:
            self._report(f"{keeper.get_name()}: nobody watches this process any more: {keeper.exception()!r}")

    async def _keep(self, child: Child) -> None:
        """Watch a process, and start it again for as long as the cluster lives."""
        failures = 0
        while True:
            await child.wait()
            self._record()
            self._report(f"{child.spec.name} (process {child.pid}) ended: {child.end()}")
            if not self._restart:
                return
            failures = 0 if child.age_s >= _HEALTHY_S else failures + 1
            child = await self._successor(child, failures)
            try:
                address = await child.ready(Deadline.after(READY_S))
            except ProcessFailed as error:
                self._report(str(error))
                child.kill()
            else:
                self._record()
                self._report(f"{child.spec.name} (process {child.pid}) serves again on {address}")

    async def _successor(self, dead: Child, failures: int) -> Child:
        """Start it again, on the port it had; where that port did not serve, on the one it was to have at first."""
        address = dead.address if dead.served else dead.spec.address
        while True:
            await asyncio.sleep(restart_delay(failures))
            try:
                return await self._spawn(dead.spec, address)
            except StartError as error:
                self._report(str(error))
                failures += 1

    async def _spawn(self, spec: ProcessSpec, address: str) -> Child:
        child = await Child.start(spec, address, self._folder / "logs" / f"{spec.name}.log")
        self._children[spec.name] = child
        self._record()
        return child

    def _record(self) -> None:
        alive = (child for child in self._children.values() if child.alive)
        states = [ProcessState(child.spec.name, child.spec.role, child.pid, _known(child.address)) for child in alive]
        try:
            write_state(self._folder, states)
        except OSError as error:
            self._report(f"cannot write local.json: {error}")


def _known(address: str) -> str | None:
    return None if address.endswith(":0") else address


async def _wait(children: Sequence[Child], deadline: Deadline) -> None:
    """Wait until all have ended or the time has."""
    if children:
        waits = [asyncio.ensure_future(child.wait()) for child in children]
        _, left = await asyncio.wait(waits, timeout=deadline.timeout())
        for wait in left:
            wait.cancel()
