"""Both transports do TLS alike: whom they trust, whom they let in, whose names they tell, and renewed files."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import warnings
from pathlib import Path

import pytest

from harness.certificates import Authority, Issued
from mishards.errors import NodeUnavailable, StartError
from mishards.security.tls import ClientTls, ServerTls
from mishards.testing.transport import echo, serving, soon
from mishards.transport.api import Call, Channel, ServerOptions, Transport
from mishards.transport.bearer import BearerTransport
from mishards.transport.choice import TRANSPORTS, transport_of


@pytest.fixture(params=TRANSPORTS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def server_tls(issued: Issued, client_ca: Path | None = None) -> ServerTls:
    return ServerTls(issued.cert, issued.key, client_ca)


async def refused(channel: Channel) -> None:
    with pytest.raises(NodeUnavailable):
        await channel.call("Search", b"", deadline=soon())


async def test_calls_pass_through_tls_and_plain_text_does_not(name: str, authority: Authority) -> None:
    transport = transport_of(name, server_tls(authority.issue("node")), ClientTls(authority.file))
    plain = transport_of(name)
    async with serving(transport, echo) as channel:
        for request in (b"", b"x", bytes(300_000)):
            assert await channel.call("Insert", request, deadline=soon()) == request
        stranger = plain.channel(channel.address)
        await refused(stranger)
        await stranger.close()


async def test_a_server_of_another_authority_or_name_is_not_trusted(
    name: str, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    transport = transport_of(name, server_tls(authority.issue("node")))
    trusting = transport_of(name, client_tls=ClientTls(authority.file, server_name="localhost"))
    doubting = [ClientTls(other.file), ClientTls(authority.file, server_name="elsewhere.example")]
    async with serving(transport, echo) as plain:
        channel = trusting.channel(plain.address)
        assert await channel.call("Search", b"x", deadline=soon()) == b"x"
        await channel.close()
        for tls in doubting:
            channel = transport_of(name, client_tls=tls).channel(plain.address)
            await refused(channel)
            await channel.close()


async def test_a_server_that_wants_certificates_lets_nobody_in_without(
    name: str, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    foreign = Authority(tmp_path / "other").issue("router")
    router = authority.issue("router")
    seen: list[tuple[str, ...]] = []

    async def handler(call: Call) -> bytes:
        seen.append(call.peer_names)
        return call.request

    server = transport_of(name, server_tls(authority.issue("node"), authority.file)).server(
        handler, ServerOptions("127.0.0.1:0")
    )
    address = await server.start()
    try:
        for tls in (ClientTls(authority.file), ClientTls(authority.file, foreign.cert, foreign.key)):
            channel = transport_of(name, client_tls=tls).channel(address)
            await refused(channel)
            await channel.close()
        assert not seen
        channel = transport_of(name, client_tls=ClientTls(authority.file, router.cert, router.key)).channel(address)
        assert await channel.call("Search", b"x", deadline=soon()) == b"x"
        await channel.close()
    finally:
        await server.stop(0)
    assert seen == [("router", "localhost", "127.0.0.1")]


async def test_new_connections_get_the_renewed_certificate(name: str, authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "next").mkdir()
    renewed = Authority(tmp_path / "next")
    own = authority.issue("node")
    async with serving(transport_of(name, server_tls(own), ClientTls(authority.file)), echo) as old:
        assert await old.call("Search", b"1", deadline=soon()) == b"1"
        fresh = renewed.issue("node")
        own.cert.write_bytes(b"half of a renewal")
        late = transport_of(name, client_tls=ClientTls(authority.file)).channel(old.address)
        assert await late.call("Search", b"2", deadline=soon()) == b"2"  # what does not fit is passed over
        await late.close()
        for source, target in ((fresh.key, own.key), (fresh.cert, own.cert)):
            shutil.copy(source, target.with_suffix(".new"))
            target.with_suffix(".new").replace(target)
        channel = transport_of(name, client_tls=ClientTls(renewed.file)).channel(old.address)
        assert await channel.call("Search", b"3", deadline=soon()) == b"3"
        await channel.close()
        assert await old.call("Search", b"4", deadline=soon()) == b"4"


async def test_files_that_cannot_be_used_are_named_at_the_start(name: str, authority: Authority) -> None:
    node, other = authority.issue("node"), authority.issue("other")
    bad = [ServerTls(node.cert, node.cert.with_name("none.pem")), ServerTls(node.cert, other.key)]
    for tls in bad:
        with pytest.raises(StartError, match=r"node\.cert\.pem"):
            await transport_of(name, tls).server(echo, ServerOptions("127.0.0.1:0")).start()
    with pytest.raises(StartError, match=r"none\.pem"):
        transport_of(name, client_tls=ClientTls(node.cert.with_name("none.pem"))).channel("127.0.0.1:1")


async def test_a_version_of_tls_from_before_2008_is_refused(name: str, authority: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.file)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    transport = transport_of(name, server_tls(authority.issue("node")), ClientTls(authority.file))
    async with serving(transport, echo) as channel:
        host, _, port = channel.address.rpartition(":")
        with pytest.raises(OSError):  # noqa: PT011 - an SSLError or a reset, as the two ends happen to end
            await asyncio.wait_for(asyncio.open_connection(host, int(port), ssl=context), 30)


async def test_a_token_is_shown_with_every_call(name: str) -> None:
    seen: list[dict[str, str]] = []

    async def handler(call: Call) -> bytes:
        seen.append(dict(call.metadata))
        return b""

    transport: Transport = BearerTransport(transport_of(name), "a-token-of-a-router")
    async with serving(transport, handler) as channel:
        await channel.call("Search", b"", deadline=soon(), metadata=[("request_id", "7")])
        await channel.call("Cmd", b"", deadline=soon())
        assert channel.address.startswith("127.0.0.1:")
    assert [entry["authorization"] for entry in seen] == ["Bearer a-token-of-a-router"] * 2
    assert seen[0]["request_id"] == "7"
