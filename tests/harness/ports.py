"""TCP ports that nobody else will take."""

from __future__ import annotations

import os
import random
import socket

_FIRST, _END = 20_000, 32_000
"""Below the range that the kernel hands to outgoing connections, so that a port stays free while a server restarts."""

_random = random.Random(f"{os.getpid()}-{os.environ.get('PYTEST_XDIST_WORKER', '')}")
_given: set[int] = set()


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now and that this process has not handed out before."""
    for _ in range(_END - _FIRST):
        port = _random.randrange(_FIRST, _END)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise RuntimeError(f"no free port between {_FIRST} and {_END}")


def accepts_connections(port: int) -> bool:
    """Does something listen on the port of 127.0.0.1?"""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
