"""Addresses and sockets: how the seam writes them, and how a server listens on them."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from mishards.errors import StartError

UNIX: Final = "unix:"
_BACKLOG: Final = 1024


def unix_path(address: str) -> Path:
    """The path of ``unix:PATH`` or ``unix://PATH``."""
    return Path(address.removeprefix(UNIX).removeprefix("//"))


def host_and_port(address: str) -> tuple[str, int]:
    """``host:port`` cut in two; an IPv6 host stands in brackets. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 0xFFFF:
        raise ValueError(f"{address!r} is no HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def peer_name(transport: asyncio.BaseTransport | None) -> str:
    """The peer as gRPC writes it: ``ipv4:HOST:PORT``, ``ipv6:[HOST]:PORT`` or ``unix:``."""
    peer = transport.get_extra_info("peername") if transport is not None else None
    if not isinstance(peer, tuple) or len(peer) < 2:
        return UNIX
    return f"ipv6:[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"ipv4:{peer[0]}:{peer[1]}"


async def listen(
    address: str, protocol: Callable[[], asyncio.BaseProtocol], tls: ssl.SSLContext | None, *, reuse_port: bool
) -> tuple[list[asyncio.AbstractServer], str]:
    """Listen on an address of the seam; return the servers and the address with the port that was bound.

    Raises:
        StartError: it cannot be had.
    """
    loop = asyncio.get_running_loop()
    try:
        if address.startswith(UNIX):
            path = _free_path(address)
            return [await loop.create_unix_server(protocol, path, ssl=tls, backlog=_BACKLOG)], address
        host, port = host_and_port(address)
        servers: list[asyncio.AbstractServer] = []
        for family, sockaddr in await _resolved(host, port):
            sock = _bound(family, (sockaddr[0], port, *sockaddr[2:]), reuse_port=reuse_port)
            port = sock.getsockname()[1]
            servers.append(await loop.create_server(protocol, sock=sock, ssl=tls, backlog=_BACKLOG))
    except (OSError, ValueError) as error:
        raise StartError(f"cannot listen on {address}: the address is in use or not ours: {error}") from error
    return servers, f"{address.rpartition(':')[0]}:{port}"


async def _resolved(host: str, port: int) -> list[tuple[int, Any]]:
    infos = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return list(dict.fromkeys((family, sockaddr) for family, _, _, _, sockaddr in infos))


def _bound(family: int, sockaddr: Any, *, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(sockaddr)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _free_path(address: str) -> str:
    """The path of a Unix socket, free of what a dead process left. Raises OSError when somebody listens there."""
    path = unix_path(address)
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise OSError(errno.EADDRINUSE, "somebody listens there")
        path.unlink()
    return str(path)


def remove_socket(address: str) -> None:
    """Remove what a server leaves of a Unix socket."""
    if address.startswith(UNIX):
        unix_path(address).unlink(missing_ok=True)
