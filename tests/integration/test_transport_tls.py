"""TLS, and that HTTP/2 must have been agreed upon in it."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from pathlib import Path

import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mishards.deadline import Deadline
from mishards.errors import NodeUnavailable
from mishards.testing.transport import echo, serving, soon
from mishards.transport.api import SERVICE
from mishards.transport.h2.options import H2Options
from mishards.transport.h2.transport import H2Transport

BIG = bytes(range(256)) * 20_000


class Certificate:
    """A certificate for 127.0.0.1 that signs itself, and its key."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.timezone.utc)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.file = folder / "certificate.pem"
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        self.key_file = folder / "key.pem"
        plain = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
        self.key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, plain[1], plain[0]))

    def server(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.file, self.key_file)
        return context

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.file))


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return Certificate(tmp_path)


async def test_both_ends_speak_through_tls(certificate: Certificate) -> None:
    options = H2Options(server_tls=certificate.server(), client_tls=certificate.client())
    async with serving(H2Transport(options), echo) as channel:
        for request in (b"", b"x", BIG):
            assert await channel.call("Search", request, deadline=soon()) == request


async def test_a_client_of_grpcio_is_served_through_tls(certificate: Certificate) -> None:
    transport = H2Transport(H2Options(server_tls=certificate.server(), client_tls=certificate.client()))
    credentials = grpc.ssl_channel_credentials(certificate.file.read_bytes())
    async with serving(transport, echo) as ours, grpc.aio.secure_channel(ours.address, credentials) as channel:
        assert await channel.unary_unary(f"/{SERVICE}/Search")(bytes(100_000), timeout=30) == bytes(100_000)


async def test_a_server_of_grpcio_is_called_through_tls(certificate: Certificate) -> None:
    class Answers(grpc.GenericRpcHandler):
        def service(self, handler_call_details: object) -> object:
            async def answer(request: bytes, context: object) -> bytes:
                return request

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Answers(),))
    pair = certificate.key_file.read_bytes(), certificate.file.read_bytes()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    channel = H2Transport(H2Options(client_tls=certificate.client())).channel(f"127.0.0.1:{port}")
    try:
        assert await channel.call("Search", bytes(100_000), deadline=soon()) == bytes(100_000)
    finally:
        await channel.close()
        await server.stop(None)


async def test_a_peer_that_does_not_offer_http_2_is_cut_off(certificate: Certificate) -> None:
    options = H2Options(server_tls=certificate.server(), client_tls=certificate.client())
    async with serving(H2Transport(options), echo) as channel:
        host, _, port = channel.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=certificate.client())
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()


async def test_a_certificate_that_is_not_trusted_makes_a_node_unavailable(certificate: Certificate) -> None:
    options = H2Options(server_tls=certificate.server(), client_tls=ssl.create_default_context())
    async with serving(H2Transport(options), echo) as channel:
        with pytest.raises(NodeUnavailable, match="certificate") as caught:
            await channel.call("Search", b"", deadline=Deadline.after(30))
    assert not caught.value.sent
