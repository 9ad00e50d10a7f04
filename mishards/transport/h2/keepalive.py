"""Whether a silent peer still lives, asked by PING while calls are under way.

Servers count pings as abuse that come quicker than every five minutes with nothing else between, so after one that was
answered the next one waits; whatever else the peer sends makes it come sooner again.
"""

from __future__ import annotations

from typing import Any

from mishards.transport.h2 import frames
from mishards.transport.h2.control import Controlled

_OPAQUE = b"alive?!?"


class Keepalive:
    """Looks after one connection, on a timer of its own. Belongs to the event loop."""

    def __init__(self, connection: Controlled[Any]) -> None:
        self._connection = connection
        self._pinged = False
        self._reads = 0
        self._answers = 0

    def begin(self) -> None:
        """Look again and again from now on, as long as the connection lives."""
        self._look_after(self._connection.options.keepalive_s)

    def answered(self) -> None:
        """A ping was answered."""
        self._answers += 1

    def _look_after(self, delay_s: float) -> None:
        self._reads, self._answers = self._connection.reads, 0
        self._connection.after(delay_s, "keepalive", self._look)

    def _look(self) -> None:
        connection, options = self._connection, self._connection.options
        heard = connection.reads - self._reads
        if self._pinged and not heard:
            connection.abort(f"it has not answered a ping within {options.keepalive_timeout_s:g} s")
        elif self._pinged:
            self._pinged = False
            self._look_after(options.keepalive_s if heard > self._answers else options.keepalive_idle_s)
        elif heard or not connection.streams:
            self._look_after(options.keepalive_s)
        else:
            self._pinged = True
            connection.outbox.write(frames.ping(_OPAQUE, ack=False))
            self._look_after(options.keepalive_timeout_s)
