"""etcd as it is run for real: three servers, TLS, and users with passwords."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.certificates import Authority
from harness.etcd import Etcd, ensemble
from harness.waiting import eventually
from mishards.discovery.api import NodeRecord
from mishards.errors import DiscoveryError, PluginError
from mishards.testing.discovery import READER, WRITER, Recorder

httpx = pytest.importorskip("httpx", reason="httpx is not installed: pip install 'mishards[etcd]'")

from mishards_plugins.discovery.etcd import plugin  # noqa: E402 - needs httpx

WAIT_S = 30.0


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    if missing := Etcd.missing():
        pytest.skip(missing)
    with ExitStack() as closing:
        yield closing


def opened(uri: str, closing: ExitStack) -> Recorder:
    discovery, heard = plugin.discovery(uri), Recorder()
    discovery.open(heard)
    closing.callback(discovery.close)
    return heard


def settled(heard: Recorder, *nodes: NodeRecord) -> None:
    eventually(lambda: heard.last == frozenset(nodes), WAIT_S, lambda: f"{nodes} are reported; last was {heard.last}")


def leader_of(servers: list[Etcd]) -> Etcd:
    def found() -> Etcd | None:
        for server in servers:
            if server.running and server.healthy():
                status = httpx.post(f"{server.url}/v3/maintenance/status", json={}).json()
                if status["leader"] == status["header"]["member_id"]:
                    return server
        return None

    return eventually(found, WAIT_S, "a leader")


def test_nodes_stay_while_etcd_changes_its_leader_and_while_its_quorum_is_gone(
    closing: ExitStack, tmp_path: Path
) -> None:
    servers = [closing.enter_context(server) for server in ensemble(tmp_path)]
    for server in servers:
        server.start()
    eventually(lambda: all(server.healthy() for server in servers), WAIT_S, "all servers serve")
    uri = f"etcd://{','.join(f'127.0.0.1:{server.port}' for server in servers)}/mishards?ttl_s=5"
    first, second = plugin.announcer(uri), plugin.announcer(uri)
    closing.callback(first.withdraw)
    closing.callback(second.withdraw)
    first.announce(READER)
    heard = opened(uri, closing)
    settled(heard, READER)

    leader_of(servers).kill()
    leader_of(servers)
    second.announce(WRITER)
    settled(heard, READER, WRITER)

    losses, left = len(heard.losses), [server for server in servers if server.running]
    left[0].kill()
    eventually(lambda: len(heard.losses) > losses, WAIT_S, "the loss of the quorum is reported")
    assert heard.last == frozenset({READER, WRITER})
    assert frozenset() not in heard.sets
    for server in servers:
        if not server.running:
            server.start()
    sets = len(heard.sets)
    eventually(lambda: len(heard.sets) > sets, WAIT_S, "etcd is back")
    settled(heard, READER, WRITER)
    assert frozenset() not in heard.sets


def test_tls_and_a_user_with_a_password(
    closing: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    authority, secret = Authority(tmp_path), "corr3ct-horse"
    own = authority.issue("node", is_named=False)
    server = closing.enter_context(Etcd(tmp_path, authority=authority))
    server.launch()
    with httpx.Client(verify=server._context) as http:
        set_up_users(http, server.url, secret)
    monkeypatch.setenv("ETCD_PASSWORD", secret)
    (tmp_path / "wrong").write_text("wrong-horse")
    place = f"etcd://127.0.0.1:{server.port}/mishards?ttl_s=5&ca={authority.file}"
    identity = f"&cert={own.cert}&key={own.key}"

    announcer = plugin.announcer(f"{place}{identity}&user=node&password_env=ETCD_PASSWORD")
    closing.callback(announcer.withdraw)
    announcer.announce(READER)
    heard = opened(f"{place}{identity}&user=node&password_env=ETCD_PASSWORD", closing)
    settled(heard, READER)

    stranger = plugin.announcer(f"{place}{identity}&user=node&password_file={tmp_path}/wrong")
    with pytest.raises(DiscoveryError, match="does not let user node in"):
        stranger.announce(WRITER)
    assert opened(f"{place}{identity}", closing).losses  # nobody in particular may not read
    assert opened(place, closing).losses  # without a certificate there is no connection
    with pytest.raises(PluginError, match="no variable ETCD_NO_PASSWORD"):
        plugin.discovery(f"{place}&user=node&password_env=ETCD_NO_PASSWORD")
    assert secret not in caplog.text
    assert "wrong-horse" not in caplog.text


def test_a_token_that_etcd_has_forgotten_is_asked_for_again(closing: ExitStack, tmp_path: Path) -> None:
    server = closing.enter_context(Etcd(tmp_path))
    server.launch()
    with httpx.Client() as http:
        set_up_users(http, server.url, "pw")
    (tmp_path / "password").write_text("pw\n")
    uri = f"etcd://127.0.0.1:{server.port}/mishards?ttl_s=5&user=node&password_file={tmp_path}/password"
    announcer = plugin.announcer(uri)
    closing.callback(announcer.withdraw)
    announcer.announce(READER)
    heard = opened(uri, closing)
    settled(heard, READER)
    server.kill()  # its tokens are in memory only
    eventually(lambda: heard.losses, WAIT_S, "the loss is reported")
    server.launch()
    second = plugin.announcer(uri)
    closing.callback(second.withdraw)
    second.announce(WRITER)
    settled(heard, READER, WRITER)


def set_up_users(http: Any, url: str, secret: str) -> None:
    """A root, and a user ``node`` who may do anything below the prefix."""

    def post(method: str, body: dict[str, Any]) -> None:
        http.post(f"{url}/v3/auth/{method}", json=body).raise_for_status()

    below = {"key": base64.b64encode(b"/mishards/").decode(), "range_end": base64.b64encode(b"/mishards0").decode()}
    post("user/add", {"name": "root", "password": "root"})
    post("role/add", {"name": "root"})
    post("user/grant", {"user": "root", "role": "root"})
    post("role/add", {"name": "nodes"})
    post("role/grant", {"name": "nodes", "perm": {"permType": "READWRITE", **below}})
    post("user/add", {"name": "node", "password": secret})
    post("user/grant", {"user": "node", "role": "nodes"})
    post("enable", {})
