"""``get_config`` and ``set_config`` as a Milvus 1.1 server answers them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from milvus_node.settings.keys import KEYS, Machine, size_of, size_text
from milvus_node.settings.store import FILE_NAME, Settings, saved
from mishards.errors import Code, CommandError, ConfigError, IllegalArgument

GB = 1 << 30
MACHINE = Machine(total_memory=16 * GB, cores=4, collections=lambda: frozenset({"a", "b"}))


def settings(folder: Path | None = None, **told: str) -> Settings:
    return Settings({}, MACHINE, folder, told.__setitem__)


def test_every_default_passes_its_own_check() -> None:
    for name, key in KEYS.items():
        assert key.check(key.default) is None, name


def test_a_value_is_returned_as_it_was_given() -> None:
    kept = settings()
    kept.set("cache.cache_size", "2 gb")
    assert kept.get("cache.cache_size") == "2 gb"


def test_all_values_are_texts_grouped_by_parent() -> None:
    groups = json.loads(settings().get("*"))
    assert groups["cache"]["cache_size"] == "4GB"
    assert groups["network"]["bind.port"] == "19530"
    assert groups["version"] == "0.5"
    assert groups["restart_required"] is False


@pytest.mark.parametrize("name", ["cache.nothing", "Cache.cache_size", "network.http.enable", "gpu.enable"])
def test_a_key_that_is_unknown_or_only_readable_cannot_be_set(name: str) -> None:
    with pytest.raises(CommandError, match=f"Config node invalid: {name}") as caught:
        settings().set(name, "1")
    assert caught.value.code == Code.UNEXPECTED_ERROR


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cache.cache_size", "0"),
        ("cache.cache_size", "17GB"),
        ("cache.cache_size", "15.5GB"),
        ("cache.insert_buffer_size", "17GB"),
        ("cache.cpu_cache_threshold", "1"),
        ("cache.preload_collection", "a,a"),
        ("cache.preload_collection", "a,c"),
        ("cluster.role", "writer"),
        ("engine_config.omp_thread_num", "5"),
        ("engine_config.search_combine_nq", "-1"),
        ("general.meta_uri", "oracle://a:b@c:1/d"),
        ("general.timezone", "CET"),
        ("logs.level", "loud"),
        ("logs.max_log_file_size", "5GB"),
        ("network.bind.address", "256.1.1.1"),
        ("network.bind.port", "80"),
        ("storage.auto_flush_interval", "1s"),
        ("storage.path", "relative/path"),
        ("storage.path", "/a--b"),
        ("wal.enable", "maybe"),
        ("version", "0.6"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_and_changes_nothing(name: str, value: str) -> None:
    kept = settings()
    before = kept.get(name)
    with pytest.raises(IllegalArgument, match="Possible reason: "):
        kept.set(name, value)
    assert kept.get(name) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cache.cache_size", "8GB"),
        ("cache.preload_collection", ""),
        ("cache.preload_collection", "a,b"),
        ("cache.preload_collection", "*"),
        ("general.meta_uri", "mysql://u:p@host:3306/milvus"),
        ("storage.path", "/var/lib/milvus-data"),
        ("wal.enable", "OFF"),
    ],
)
def test_a_value_that_fits_is_kept_over_a_restart(tmp_path: Path, name: str, value: str) -> None:
    settings(tmp_path).set(name, value)
    assert saved(tmp_path) == {name: value}


def test_both_cache_sizes_together_must_fit_the_memory() -> None:
    kept = settings()
    kept.set("cache.insert_buffer_size", "6GB")
    with pytest.raises(IllegalArgument, match="insert_buffer_size"):
        kept.set("cache.cache_size", "10GB")


def test_only_live_keys_act_at_once_and_the_others_ask_for_a_restart() -> None:
    told: dict[str, str] = {}
    kept = Settings({}, MACHINE, None, told.__setitem__)
    kept.set("cache.cache_size", "1GB")
    assert told == {"cache.cache_size": "1GB"}
    assert not kept.restart_required
    kept.set("storage.auto_flush_interval", "3")
    assert told == {"cache.cache_size": "1GB"}
    assert kept.restart_required


def test_a_damaged_file_of_settings_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("{")
    with pytest.raises(ConfigError, match=FILE_NAME):
        saved(tmp_path)


def test_sizes_are_read_in_any_case_and_written_in_the_largest_unit() -> None:
    assert [size_of(text) for text in ("1", "1k", "2KB", "3Mb", "4gb", "x", "-1", "1T")] == [
        *(1, 1024, 2048, 3 << 20, 4 << 30),
        *(None, None, None),
    ]
    assert [size_text(size) for size in (4 << 30, 256 << 20, 1025)] == ["4GB", "256MB", "1025"]
