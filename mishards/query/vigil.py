"""Over the nodes that searches wait for: one that takes long is probed, and who waits for it learns whether it lives.

Belongs to the event loop. One timer serves all.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol

from mishards.cluster.node import Node


class Waiting(Protocol):
    """Something that waits for a node."""

    @property
    def node(self) -> Node:
        """Whom it waits for."""
        ...

    def found_dead(self) -> None:
        """The node answers neither the call nor a probe; it is waited for no more."""
        ...

    def found_alive(self) -> None:
        """The node answers a probe, and not the call yet; it is waited for on."""
        ...


class Vigil:
    """Probes a node whenever something has waited for it so long, and so long again, as patience lasts."""

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self._due: dict[Waiting, float] = {}  # in the order of time, as all wait equally long
        self._probed: set[Waiting] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, waiting: Waiting) -> None:
        """Something waits from now on, until ``end``."""
        loop = asyncio.get_running_loop()
        self._due[waiting] = loop.time() + self.patience_s
        if self._timer is None:
            self._timer = loop.call_later(self.patience_s, self._look)

    def end(self, waiting: Waiting) -> None:
        """It has its answer, or waits no more."""
        if self._due.pop(waiting, None) is None:
            self._probed.discard(waiting)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = None
        for waiting, due in list(self._due.items()):
            if due > now:
                self._timer = loop.call_at(due, self._look)
                return
            del self._due[waiting]
            self._probed.add(waiting)
            waiting.node.probe().add_done_callback(partial(self._told, waiting))

    def _told(self, waiting: Waiting, probe: asyncio.Task[bool]) -> None:
        if waiting not in self._probed:
            return
        self._probed.remove(waiting)
        if probe.cancelled() or probe.result():
            self.begin(waiting)
            waiting.found_alive()
            return
        waiting.node.broke("it answers neither a search nor a probe")
        waiting.found_dead()
