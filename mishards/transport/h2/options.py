"""What a deployment may set of the transport, and the limits that protect it from its peers."""

from __future__ import annotations

import ssl
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class H2Options:
    """Of both ends. Sizes are bytes, times are seconds; the defaults fit a local network.

    The contexts get the protocol ``h2`` as their only ALPN offer.
    """

    server_tls: ssl.SSLContext | None = None
    client_tls: ssl.SSLContext | None = None
    server_name: str = ""
    """What a channel expects in the server's certificate, where that is not the host in its address."""
    connect_timeout_s: float = 3.0
    """For the connection, TLS and the peer's SETTINGS together."""
    backoff_min_s: float = 0.05
    backoff_max_s: float = 2.0
    keepalive_s: float = 20.0
    """A client pings a peer that was silent for so long while calls are under way."""
    keepalive_timeout_s: float = 20.0
    keepalive_idle_s: float = 310.0
    """Between pings when the last one was answered and nothing else came: servers count quicker ones as abuse."""
    preface_timeout_s: float = 20.0
    """A client that has not begun to speak HTTP/2 by then is cut off."""
    stall_timeout_s: float = 60.0
    """A peer that reads nothing of what is written to it for so long is cut off."""
    max_streams: int = 1_000
    """Calls under way on one connection of a server."""
    max_frame_bytes: int = 256 << 10
    max_header_bytes: int = 32 << 10
    """Of one header list, encoded and decoded."""
    request_window: int = 128 << 10
    """What a client may send of one request before the server has looked at it."""
    reply_window: int = 1 << 20
    connection_window: int = 16 << 20
    receive_budget: int = 256 << 20
    """Bytes of messages larger than their window that one connection receives, or has under way, at once."""
    max_inflated_bytes: int = 1 << 30
    """Of a compressed message, where the server has no smaller limit."""
