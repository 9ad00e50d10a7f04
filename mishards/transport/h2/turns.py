"""Callers that wait until the peer allows one more call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from mishards.deadline import Deadline


class Turns:
    """Wakes those who wait in their order, as many as have room. Belongs to the event loop."""

    def __init__(self, room: Callable[[], int]) -> None:
        """``room`` says how many calls may be begun now."""
        self._room = room
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self, deadline: Deadline) -> None:
        """Return when it is worth another look, or the time is up."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        taken = False
        try:
            await asyncio.wait((turn,), timeout=deadline.timeout())
            taken = bool(deadline.remaining())
        finally:
            if not turn.done():
                self._waiting.remove(turn)
            elif not taken:  # its turn is the next one's
                self.wake()

    def wake(self) -> None:
        """Let in as many as there is room for."""
        room = self._room()
        while self._waiting and room > 0:
            self._waiting.popleft().set_result(None)
            room -= 1
