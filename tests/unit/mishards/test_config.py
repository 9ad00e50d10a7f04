from __future__ import annotations

from pathlib import Path

import pytest

from mishards.config import RouterOptions, first_names, load_config
from mishards.errors import ConfigError
from mishards.options import settings
from mishards.query.options import Consistency

NEEDED = {
    "metadata.uri": ("--metadata", "sqlite:////data/meta.sqlite"),
    "discovery.uri": ("--discovery", "file:///data/nodes"),
}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVER_PORT", "SQLALCHEMY_DATABASE_URI", "LOG_LEVEL", "DISCOVERY_STATIC_HOSTS", "WOSERVER"):
        monkeypatch.delenv(name, raising=False)


def test_flags_file_and_environment_come_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "router.yaml"
    file.write_text(
        "search:\n  consistency: bounded\n  graceful_time_ms: 5\nrouting:\n  replicas_by_collection: {hot: 3}\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("MISHARDS_SEARCH_GRACEFUL_TIME_MS", "7")
    options = load_config(file, NEEDED).options
    assert options.search.consistency is Consistency.BOUNDED
    assert options.search.graceful_time_ms == 7
    assert (options.routing.replicas_of("hot"), options.routing.replicas_of("cold")) == (3, 1)
    assert options.metadata.uri == NEEDED["metadata.uri"][1]


@pytest.mark.parametrize("missing", ["metadata.uri", "discovery.uri"])
def test_what_a_router_cannot_do_without_is_asked_for_by_name(missing: str) -> None:
    with pytest.raises(ConfigError, match=f"{missing} is not given"):
        load_config(None, {key: flag for key, flag in NEEDED.items() if key != missing})


def test_the_names_of_the_first_mishards_still_work_and_are_the_weaker_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_PORT", "19531")
    monkeypatch.setenv("SQLALCHEMY_DATABASE_URI", "mysql+pymysql://root:pw@db:3306/milvus?charset=utf8mb4")
    monkeypatch.setenv("DISCOVERY_STATIC_HOSTS", "10.0.0.1, ro2:19541")
    monkeypatch.setenv("DISCOVERY_STATIC_PORT", "19540")
    monkeypatch.setenv("WOSERVER", "tcp://rw:19530")
    monkeypatch.setenv("LOG_LEVEL", "WARNING")
    options = load_config(None, {}).options
    assert options.network.address == "0.0.0.0:19531"
    assert options.metadata.uri == "mysql://root:pw@db:3306/milvus?charset=utf8mb4"
    assert options.discovery.uri == "static://?writable=rw:19530&readonly=10.0.0.1:19540,ro2:19541"
    assert options.log.level == "warning"
    monkeypatch.setenv("MISHARDS_NETWORK_ADDRESS", "127.0.0.1:1")
    assert load_config(None, {}).options.network.address == "127.0.0.1:1"


def test_a_writable_node_alone_is_enough() -> None:
    assert first_names({"WOSERVER": "rw:1"})["discovery.uri"].value == "static://?writable=rw:1"


def test_an_empty_environment_gives_nothing() -> None:
    assert first_names({}) == {}


def test_every_setting_is_described_and_none_names_a_unit_it_lacks() -> None:
    for setting in settings(RouterOptions):
        assert setting.limits.help, setting.key
