"""``host:port`` as discovery plugins read and write it: the port has a default, an IPv6 address stands in brackets."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

DEFAULT_PORT = 19530
"""Where nodes listen that do not say otherwise."""


def split_address(text: str, default_port: int = DEFAULT_PORT) -> tuple[str, int]:
    """``host[:port]`` or ``[v6][:port]`` to its halves. Raises ValueError."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{text!r} is no HOST:PORT: {error}") from None
    if not host or parts.path or parts.query or parts.username is not None:
        raise ValueError(f"{text!r} is no HOST:PORT")
    return host, default_port if port is None else port


def join_address(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_ip_address(host: str) -> bool:
    """Is it an address, and so nothing to look up?"""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
