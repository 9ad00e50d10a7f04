"""The transport of the seam on this package's own HTTP/2."""

from __future__ import annotations

from mishards.transport.api import Channel, Handler, Server, ServerOptions
from mishards.transport.h2.channel import H2Channel
from mishards.transport.h2.options import H2Options
from mishards.transport.h2.server import H2Server


class H2Transport:
    """Makes servers and channels that share their options."""

    def __init__(self, options: H2Options | None = None) -> None:
        self._options = options or H2Options()

    def server(self, handler: Handler, options: ServerOptions) -> Server:
        """A server that is not listening yet."""
        return H2Server(handler, options, self._options)

    def channel(self, address: str) -> Channel:
        """A channel that has not connected yet."""
        return H2Channel(address, self._options)
