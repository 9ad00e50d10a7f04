"""Our own commands find their certificates and tokens in the environment."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from harness.certificates import Authority
from mishards.bulk.remote import connected
from mishards.cli.output import asked
from mishards.config import client_access
from mishards.errors import ConfigError, NodeUnavailable, ServerRefused
from mishards.rest.application import application
from mishards.rest.guarded import guarded
from mishards.rest.health import health_routes
from mishards.rest.server import HttpServer
from mishards.security.guard import Guard
from mishards.security.options import SecurityOptions
from mishards.security.tls import ClientTls, ServerTls, server_context
from mishards.testing.transport import serving
from mishards.transport.api import Call
from mishards.transport.choice import transport_of
from mishards.wire.protos import milvus_pb2 as pb

TOKEN = "a-secret-of-an-app"  # noqa: S105 - of a test


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def answer(call: Call) -> bytes:
    assert ("authorization", f"Bearer {TOKEN}") in call.metadata
    return pb.StringReply(string_reply="1.1.0").SerializeToString()


async def test_bulk_work_speaks_tls_and_shows_its_token(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = authority.issue("router")
    (tmp_path / "token").write_text(TOKEN)
    transport = transport_of(server_tls=ServerTls(own.cert, own.key), client_tls=ClientTls(authority.file))
    async with serving(transport, answer) as channel:
        async with connected(channel.address) as stranger:
            with pytest.raises(NodeUnavailable):
                await stranger.call("Cmd", pb.Command(cmd="version"), pb.StringReply)
        monkeypatch.setenv("MISHARDS_CLIENT_CA", str(authority.file))
        monkeypatch.setenv("MISHARDS_CLIENT_TOKEN_FILE", str(tmp_path / "token"))
        async with connected(channel.address) as remote:
            assert (await remote.call("Cmd", pb.Command(cmd="version"), pb.StringReply)).string_reply == "1.1.0"


async def test_pages_are_asked_for_with_tls_and_the_token(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = authority.issue("router")
    guard = Guard(SecurityOptions(tokens=f"app read {TOKEN}", anonymous_allows=(), read_allows=("http:/healthz",)))
    app = application(guarded(health_routes(list, list), guard))
    server = HttpServer(app, "127.0.0.1:0", server_context(ServerTls(own.cert, own.key)))
    address = await server.start()
    try:
        monkeypatch.setenv("MISHARDS_CLIENT_CA", str(authority.file))
        with pytest.raises(ServerRefused, match="needs a token"):
            await asyncio.to_thread(asked, address, "/healthz")
        monkeypatch.setenv("MISHARDS_CLIENT_TOKEN", TOKEN)
        assert await asyncio.to_thread(asked, address, "/healthz") == {"status": "ok"}
        with pytest.raises(ServerRefused, match="app has the role read"):
            await asyncio.to_thread(asked, address, "/readyz")
    finally:
        await server.stop(0)


def test_what_does_not_fit_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISHARDS_CLIENT_KEY", "k")
    with pytest.raises(ConfigError, match="certificate and key"):
        client_access()
