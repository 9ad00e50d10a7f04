"""Over HTTP a certificate gives its role too, and nobody is turned away for having none."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx

from harness.certificates import Authority, Issued
from mishards.rest.application import api_routes, application
from mishards.rest.guarded import guarded
from mishards.rest.health import health_routes
from mishards.rest.server import HttpServer
from mishards.security.guard import Guard
from mishards.security.options import SecurityOptions
from mishards.security.roles import Role
from mishards.security.tls import ServerTls, server_context
from mishards.transport.api import Call


async def test_a_page_and_a_call_know_the_names_in_the_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own, probe = authority.issue("node"), authority.issue("probe")
    guard = Guard(
        SecurityOptions(
            certificate_roles={"probe": Role.READ}, anonymous_allows=("http:/healthz",), read_allows=("http:/readyz",)
        )
    )
    seen: list[tuple[str, ...]] = []

    async def handler(call: Call) -> bytes:
        seen.append(call.peer_names)
        return b""

    routes = [*guarded(health_routes(list, list), guard), *api_routes(handler)]
    context = server_context(ServerTls(own.cert, own.key, authority.file), optional=True)
    server = HttpServer(application(routes), "127.0.0.1:0", context)
    address = await server.start()

    async def status(path: str, certificate: Issued | None) -> int:
        tls = ssl.create_default_context(cafile=str(authority.file))
        if certificate is not None:
            tls.load_cert_chain(certificate.cert, certificate.key)
        async with httpx.AsyncClient(verify=tls, base_url=f"https://{address}", timeout=30) as client:
            return (await client.get(path)).status_code

    try:
        assert [await status("/healthz", each) for each in (None, probe)] == [200, 200]
        assert [await status("/readyz", each) for each in (None, probe)] == [401, 200]
        await status("/collections", probe)
        await status("/collections", None)
    finally:
        await server.stop(0)
    assert seen == [("probe", "localhost", "127.0.0.1"), ()]
