"""Whether a silent peer still lives, asked by PING while calls are under way.

Servers count pings as abuse that come quicker than every five minutes with nothing else between. So there is one ping a
silence; what else the peer says entitles to the next one, and a long time does.
"""

from __future__ import annotations

import time
from typing import Any, Final

from mishards.transport.h2 import frames
from mishards.transport.h2.control import Controlled

_OPAQUE: Final = b"alive?!?"


class Keepalive:
    """Looks after one connection, on timers of its own. Belongs to the event loop."""

    def __init__(self, connection: Controlled[Any]) -> None:
        self._connection = connection
        self._entitled = True
        self._pinged_at = 0.0
        self._reads = 0
        self._answers = 0

    def begin(self) -> None:
        """Look again and again from now on, as long as the connection lives."""
        self._connection.after(self._connection.options.keepalive_s, "keepalive", self._look)

    def answered(self) -> None:
        """A ping was answered."""
        self._answers += 1
        self._connection.call_off("pong")

    def _look(self) -> None:
        connection = self._connection
        heard = connection.reads - self._reads - self._answers
        self._reads, self._answers = connection.reads, 0
        if heard > 0:
            self._entitled = True
        elif connection.streams and (self._entitled or self._long_ago()):
            self._ping()
        self.begin()

    def _long_ago(self) -> bool:
        return time.monotonic() - self._pinged_at >= self._connection.options.keepalive_idle_s

    def _ping(self) -> None:
        connection, reads = self._connection, self._connection.reads
        timeout_s = connection.options.keepalive_timeout_s

        def give_up() -> None:
            if connection.reads == reads:
                connection.abort(f"it has not answered a ping within {timeout_s:g} s")

        self._entitled = False
        self._pinged_at = time.monotonic()
        connection.outbox.write(frames.ping(_OPAQUE, ack=False))
        connection.after(timeout_s, "pong", give_up)
