"""ZooKeeper with TLS, and entries that belong to one user."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.certificates import Authority
from harness.processes import server_folder
from harness.waiting import eventually
from harness.zookeeper import ZooKeeper
from mishards.errors import DiscoveryError, PluginError
from mishards.testing.discovery import READER, WRITER, Recorder

kazoo = pytest.importorskip("kazoo.client", reason="kazoo is not installed: pip install 'mishards[zookeeper]'")

from mishards_plugins.discovery.zookeeper import plugin  # noqa: E402 - needs kazoo
from mishards_plugins.discovery.zookeeper_session import parse  # noqa: E402 - needs kazoo

WAIT_S = 30.0


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    if missing := ZooKeeper.missing():
        pytest.skip(missing)
    with ExitStack() as closing:
        yield closing


def opened(uri: str, closing: ExitStack) -> Recorder:
    discovery, heard = plugin.discovery(uri), Recorder()
    discovery.open(heard)
    closing.callback(discovery.close)
    return heard


def test_entries_of_a_user_over_tls_are_nobody_elses(closing: ExitStack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    folder = closing.enter_context(server_folder("zookeeper"))
    authority = Authority(folder)
    own, secret = authority.issue("node"), "corr3ct-horse"
    server = closing.enter_context(ZooKeeper(folder, authority=authority))
    server.launch()
    (folder / "password").write_text(secret)
    (folder / "wrong").write_text("wrong-horse")
    place = f"zookeeper://{server.secure_address}/mishards?session_s=4&ca={authority.file}&cert={own.both}"
    user = f"{place}&user=node&password_file={folder}/password"

    announcer = plugin.announcer(user)
    closing.callback(announcer.withdraw)
    announcer.announce(READER)
    heard = opened(user, closing)
    eventually(lambda: heard.last == frozenset({READER}), WAIT_S, lambda: f"last was {heard.sets} {heard.losses}")

    assert "NoAuth" in str(opened(place, closing).losses)
    assert "NoAuth" in str(opened(f"zookeeper://{server.address}/mishards", closing).losses)
    stranger = plugin.announcer(f"{place}&user=node&password_file={folder}/wrong")
    with pytest.raises(DiscoveryError, match="NoAuth"):
        stranger.announce(WRITER)
    assert heard.last == frozenset({READER})
    assert secret not in caplog.text
    assert "wrong-horse" not in caplog.text


def test_a_password_that_is_away_and_half_a_user_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZK_PASSWORD", "x")
    assert parse("zookeeper://h/p?user=u&password_env=ZK_PASSWORD").user == "u"
    for query in ("user=u", "password_env=ZK_PASSWORD", "user=a:b&password_env=ZK_PASSWORD", "user=u&password_env=NO"):
        with pytest.raises(PluginError, match="zookeeper://"):
            parse(f"zookeeper://h/p?{query}")
