"""Whether a port of this machine can be had."""

from __future__ import annotations

import socket

from mishards.errors import StartError
from mishards.local.cluster import LOOPBACK


def check_port(port: int, option: str) -> None:
    """Raise StartError, naming the option that chooses it, where nobody can listen on the port now; 0 is any port."""
    try:
        _bound(port)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StartError(f"cannot listen on {LOOPBACK}:{port}: {reason}; choose another port with {option}") from error


def free_port() -> int:
    """A port that nobody listens on now; somebody else may take it before the caller does."""
    return _bound(0)


def _bound(port: int) -> int:
    with socket.socket() as probe:
        # As servers do: without it, connections of a server that has just ended would look like a server.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((LOOPBACK, port))
        number: int = probe.getsockname()[1]
        return number
