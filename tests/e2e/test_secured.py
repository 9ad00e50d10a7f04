"""A secured cluster of real programs: TLS for clients, mutual TLS to nodes, tokens with roles, no secret in a log."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from harness.certificates import Authority
from harness.client import RemoteClient
from harness.deployed import DEPLOY, changed
from harness.nginx import Nginx
from harness.ports import accepts_connections, free_port
from harness.processes import Program, find_program
from harness.programs import MISHARDS, program
from harness.servers import Server, node
from mishards.errors import MishardsError, NodeRejected, NodeUnavailable, RpcStatus
from mishards.security.tls import ClientTls
from mishards.testing.transport import soon
from mishards.transport.bearer import BearerTransport
from mishards.transport.choice import TRANSPORTS, transport_of
from mishards.wire.replies import METHODS

TOKENS = {"read": "reader-secret-0001", "write": "writer-secret-0002", "admin": "admin-secret-00003"}
NODE_TOKEN = "router-secret-0004"  # noqa: S105 - of a test
WRONG = "wrong-secret-00005"


class Secured:
    """A router and a node, and whom they trust."""

    def __init__(self, folder: Path, transport: str, stack: ExitStack) -> None:
        self.transport = transport
        self.authority = Authority(folder)
        self.router_own = self.authority.issue("router")
        node_own = self.authority.issue("node")
        (folder / "data").mkdir()
        (folder / "tokens").write_text("".join(f"{role}er {role} {token}\n" for role, token in TOKENS.items()))
        tls = {"certificate": str(node_own.cert), "key": str(node_own.key), "client_ca": str(self.authority.file)}
        security = {"certificate_roles": {"router": "admin"}, "tokens": f"routers admin {NODE_TOKEN}"}
        settings = {"transport": transport, "tls": tls, "security": security}
        self.node = stack.enter_context(node(folder, flags=_configured(folder, "node", settings)))
        self.node.launch()
        self.http = f"https://127.0.0.1:{free_port()}"
        self.router = stack.enter_context(Server("router", self._router_command(folder), folder))
        self.router.launch()

    def _router_command(self, folder: Path) -> list[str]:
        own = {"certificate": str(self.router_own.cert), "key": str(self.router_own.key)}
        settings = {
            "network": {"transport": self.transport, "drain_ms": 500},
            "tls": own,
            "nodes": {**own, "ca": str(self.authority.file)},
            "security": {"tokens_file": str(folder / "tokens")},
        }
        command = [*program(MISHARDS), "serve", *_configured(folder, "router", settings)]
        command += ["--address", f"0.0.0.0:{free_port()}", "--http-address", self.http.removeprefix("https://")]
        command += ["--metadata", f"sqlite:///{folder}/data/meta.sqlite"]
        return [*command, "--discovery", f"static://?writable={self.node.address}"]

    def call(
        self, method: str, token: str = "", *, at_node: bool = False, own: bool = False, **fields: object
    ) -> object:
        """Call the router, or the node, as a client with a token or the router's own certificate."""
        pair = (self.router_own.cert, self.router_own.key) if own else (None, None)
        transport = transport_of("grpcio", client_tls=ClientTls(self.authority.file, *pair))
        kind = METHODS[method]

        async def called() -> object:
            address = self.node.address if at_node else self.router_address
            channel = (BearerTransport(transport, token) if token else transport).channel(address)
            try:
                request = kind.request(**fields).SerializeToString()
                return kind.reply.FromString(await channel.call(method, request, deadline=soon()))
            finally:
                await channel.close()

        return asyncio.run(called())

    @property
    def router_address(self) -> str:
        """As a client on this machine calls it."""
        return self.router.address.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - replaced

    def get(self, path: str, token: str = "") -> int:
        """The status of a page of the router over HTTPS."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.get(self.http + path, headers=headers, verify=context, timeout=30).status_code


def _configured(folder: Path, name: str, settings: object) -> list[str]:
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return ["--config", str(path)]


@pytest.fixture(params=TRANSPORTS)
def secured(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Secured]:
    with ExitStack() as stack:
        yield Secured(tmp_path, request.param, stack)


def test_everybody_gets_what_their_role_allows_and_no_secret_is_logged(secured: Secured) -> None:
    schema = {"collection_name": "c", "dimension": 4, "index_file_size": 64, "metric_type": 1}
    assert _refusal(secured, "CreateCollection", "") is RpcStatus.UNAUTHENTICATED
    assert _refusal(secured, "CreateCollection", WRONG) is RpcStatus.UNAUTHENTICATED
    assert _refusal(secured, "CreateCollection", TOKENS["read"]) is RpcStatus.PERMISSION_DENIED
    assert secured.call("CreateCollection", TOKENS["write"], **schema).error_code == 0  # type: ignore[attr-defined]
    assert secured.call("HasCollection", TOKENS["read"], collection_name="c").bool_reply  # type: ignore[attr-defined]
    assert _refusal(secured, "DropCollection", TOKENS["write"]) is RpcStatus.PERMISSION_DENIED
    assert _refusal(secured, "Cmd", TOKENS["write"], cmd="set_config a b") is RpcStatus.PERMISSION_DENIED
    assert secured.call("Cmd", TOKENS["read"], cmd="version").string_reply == "1.1.0"  # type: ignore[attr-defined]

    with pytest.raises(NodeUnavailable):  # nodes take calls of those alone that bear a certificate
        secured.call("Cmd", NODE_TOKEN, at_node=True, cmd="version")
    assert secured.call("Cmd", at_node=True, own=True, cmd="status").string_reply == "OK"  # type: ignore[attr-defined]

    assert [secured.get(path) for path in ("/healthz", "/readyz", "/metrics", "/status")] == [200, 200, 401, 401]
    assert [secured.get("/metrics", token) for token in (WRONG, TOKENS["read"])] == [401, 200]
    assert [secured.get("/collections", token) for token in ("", TOKENS["read"])] == [401, 200]

    assert secured.call("DropCollection", TOKENS["admin"], collection_name="c").error_code == 0  # type: ignore[attr-defined]
    assert [secured.router.terminate(), secured.node.terminate()] == [0, 0]
    logs = secured.router.log_text() + secured.node.log_text()
    assert "client=reader" in logs
    assert "INSECURE" not in logs
    for secret in (*TOKENS.values(), NODE_TOKEN, WRONG):
        assert secret not in logs


def _refusal(secured: Secured, method: str, token: str, **fields: object) -> RpcStatus:
    with pytest.raises(MishardsError) as caught:
        secured.call(method, token, **fields)
    assert isinstance(caught.value, NodeRejected)
    return caught.value.status


def test_a_client_that_speaks_no_tls_is_served_through_an_nginx_beside_it(
    tmp_path: Path, connect: Callable[..., RemoteClient]
) -> None:
    if Nginx.missing():
        pytest.skip(Nginx.missing())
    with ExitStack() as stack:
        secured = Secured(tmp_path, "h2", stack)
        port, configuration = free_port(), tmp_path / "beside.conf"
        changes = {
            "/tmp/": f"{tmp_path}/",  # noqa: S108 - what is replaced
            "127.0.0.1:19530": f"127.0.0.1:{port}",
            "router.example:19530": secured.router_address,
            "router.example": "localhost",
            "Bearer TOKEN": f"Bearer {TOKENS['write']}",
            "/etc/mishards/ca.pem": str(secured.authority.file),
            "/dev/stderr": "stderr",
        }
        text = changed((DEPLOY / "nginx" / "beside-a-client.conf").read_text(encoding="utf-8"), changes)
        configuration.write_text("daemon off;\n" + text, encoding="utf-8")
        command = [find_program("nginx") or "nginx", "-p", tmp_path, "-c", configuration, "-e", "stderr"]
        beside = stack.enter_context(Program("nginx", command, tmp_path))
        beside.start(lambda: accepts_connections(port))
        client = connect(f"127.0.0.1:{port}")
        param = {"collection_name": "c", "dimension": 4, "index_file_size": 64, "metric_type": 1}
        assert client.call("create_collection", param=param).code == 0
        assert client.call("has_collection", collection_name="c").value is True


def test_a_node_that_is_open_to_strangers_says_so_loudly(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    flags = ["--address", f"0.0.0.0:{free_port()}"]
    with node(tmp_path, flags=flags) as open_one:
        open_one.launch()
        lines = [line for line in open_one.log_text().splitlines() if "INSECURE" in line]
    assert len(lines) == 1
    assert "tls.certificate" in lines[0]
    assert "security.tokens_file" in lines[0]
