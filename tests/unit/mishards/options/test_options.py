from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mishards.errors import ConfigError
from mishards.options import (
    Given,
    about,
    environment_layer,
    file_layer,
    flag_layer,
    load,
    masked,
    settings,
    variable_name,
)


class Mode(str, enum.Enum):
    FAST = "fast"
    SAFE = "safe"


@dataclass(frozen=True)
class Search:
    deadline_ms: int = field(default=30_000, metadata=about("longest search", minimum=1, maximum=600_000))
    cache_bytes: int = field(default=1 << 20, metadata=about("cache"))
    mode: Mode = field(default=Mode.SAFE, metadata=about("mode"))
    tags: tuple[str, ...] = field(default=(), metadata=about("tags"))
    replicas: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}), metadata=about("replicas"))
    trace: bool = field(default=False, metadata=about("trace"))
    folder: Path | None = field(default=None, metadata=about("folder"))
    ratio: float = field(default=0.5, metadata=about("ratio", minimum=0, maximum=1))


@dataclass(frozen=True)
class Window:
    low: int = field(default=1, metadata=about("low"))
    high: int = field(default=2, metadata=about("high"))

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low must not be above high")


@dataclass(frozen=True)
class Root:
    name: str = field(default="router", metadata=about("name"))
    uri: str = field(default="sqlite:///x", metadata=about("uri"))
    token: str = field(default="", metadata=about("token", secret=True))
    search: Search = field(default_factory=Search)
    window: Window = field(default_factory=Window)


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def given_values(**values: object) -> dict[str, Given]:
    return {key.replace("__", "."): Given(value, "test") for key, value in values.items()}


def test_without_layers_every_setting_has_its_default_and_says_so() -> None:
    loaded = load(Root)
    assert loaded.options == Root()
    assert set(loaded.sources.values()) == {"default"}


def test_flags_beat_environment_beats_file_beats_default(tmp_path: Path) -> None:
    path = write(tmp_path, "name: file\nuri: file\nsearch:\n  deadline_ms: 5\n  ratio: 0.25\n")
    environment = environment_layer(
        {"MISHARDS_NAME": "env", "MISHARDS_SEARCH_DEADLINE_MS": "6", "MISHARDS_PORT": "tcp://1.2.3.4:5"},
        "MISHARDS",
        Root,
    )
    flags = flag_layer({"name": ("--name", "flag"), "uri": ("--uri", None)})
    loaded = load(Root, file_layer(path, Root), environment, flags)
    assert (loaded.options.name, loaded.options.uri) == ("flag", "file")
    assert (loaded.options.search.deadline_ms, loaded.options.search.ratio) == (6, 0.25)
    assert loaded.sources["search.ratio"] == f"{path}:5"
    assert loaded.sources["name"] == "flag --name"
    assert loaded.sources["search.deadline_ms"] == "environment variable MISHARDS_SEARCH_DEADLINE_MS"


@pytest.mark.parametrize(
    ("key", "raw", "value"),
    [
        ("search.cache_bytes", "64MB", 64 << 20),
        ("search.cache_bytes", "2k", 2048),
        ("search.cache_bytes", 77, 77),
        ("search.mode", "FAST", Mode.FAST),
        ("search.tags", "a, b,", ("a", "b")),
        ("search.tags", ["a", 1], ("a", "1")),
        ("search.replicas", "a=2,b=3", {"a": 2, "b": 3}),
        ("search.replicas", {"a": 2}, {"a": 2}),
        ("search.trace", "on", True),
        ("search.trace", "No", False),
        ("search.folder", "/data/x", Path("/data/x")),
        ("search.folder", "", None),
        ("search.ratio", "1", 1.0),
        ("name", 12, "12"),
    ],
)
def test_a_value_is_read_as_its_type(key: str, raw: object, value: object) -> None:
    options: object = load(Root, {key: Given(raw, "test")}).options
    for name in key.split("."):
        options = getattr(options, name)
    assert options == value
    assert type(options) is type(value) or isinstance(options, Mapping)


@pytest.mark.parametrize(
    ("key", "raw", "expectation"),
    [
        ("search.deadline_ms", "soon", "a whole number"),
        ("search.deadline_ms", 1.5, "a whole number"),
        ("search.deadline_ms", True, "a whole number"),
        ("search.deadline_ms", 0, "1 to 600000"),
        ("search.ratio", float("nan"), "0 to 1"),
        ("search.cache_bytes", "big", "a number of bytes, such as 1048576 or 64MB"),
        ("search.mode", "slow", "one of fast, safe"),
        ("search.trace", "maybe", "true or false"),
        ("search.tags", 5, "a list, or text with commas between the items"),
        ("search.replicas", "a", "a mapping, or text of the form NAME=VALUE,NAME=VALUE"),
        ("search.replicas", 3, "a mapping"),
        ("name", ["a"], "text"),
    ],
)
def test_a_value_that_does_not_fit_names_key_value_source_and_expectation(
    key: str, raw: object, expectation: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Root, {key: Given(raw, "file.yaml:3")})
    text = str(caught.value)
    assert key in text
    assert "file.yaml:3" in text
    assert text.endswith(f"expected {expectation}")


def test_an_unknown_key_names_its_line_and_the_closest_key(tmp_path: Path) -> None:
    path = write(tmp_path, "search:\n  deadlin_ms: 5\n")
    with pytest.raises(ConfigError, match=r"search\.deadlin_ms .*config\.yaml:2.*search\.deadline_ms\?"):
        file_layer(path, Root)


def test_an_unknown_section_names_the_closest_section(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean search\?"):
        file_layer(write(tmp_path, "serch:\n  deadline_ms: 5\n"), Root)


def test_an_unknown_key_far_from_all_lists_the_sections() -> None:
    with pytest.raises(ConfigError, match="known are search, window"):
        load(Root, given_values(zzzzzz=1))


def test_a_repeated_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"name is given twice .*:2"):
        file_layer(write(tmp_path, "name: a\nname: b\n"), Root)


@pytest.mark.parametrize("text", ["search: 5\n", "- a\n", "name: [a\n"])
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        file_layer(write(tmp_path, text), Root)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml cannot be read"):
        file_layer(tmp_path / "absent.yaml", Root)


def test_an_empty_file_and_an_empty_section_give_nothing(tmp_path: Path) -> None:
    assert file_layer(write(tmp_path, "# nothing\n"), Root) == {}
    assert file_layer(write(tmp_path, "search:\n"), Root) == {}


def test_a_part_that_refuses_its_values_names_where_they_came_from() -> None:
    with pytest.raises(ConfigError, match=r"window \(test\): low must not be above high"):
        load(Root, given_values(window__low=9))


def test_descriptions_mask_secrets_and_passwords() -> None:
    hidden = "hush"
    loaded = load(Root, given_values(uri=f"mysql://user:{hidden}@host:3306/db", token=hidden))
    shown = {key: text for key, text, _ in loaded.describe()}
    assert shown["uri"] == "mysql://user:***@host:3306/db"
    assert hidden not in shown["token"]
    assert [key for key, _, _ in loaded.describe()] == [setting.key for setting in settings(Root)]


def test_an_error_about_a_secret_does_not_repeat_it() -> None:
    with pytest.raises(ConfigError) as caught:
        load(Root, given_values(token=["hush"]))
    assert "hush" not in str(caught.value)


@given(st.text(st.characters(codec="ascii", min_codepoint=33, exclude_characters="@:/"), min_size=1))
def test_no_password_survives_masking(password: str) -> None:
    assert masked(f"mysql://u:{password}@h/d") == "mysql://u:***@h/d"


def test_variable_names_are_unique_for_each_key() -> None:
    names = [variable_name("MISHARDS", setting.key) for setting in settings(Root)]
    assert len(names) == len(set(names))
