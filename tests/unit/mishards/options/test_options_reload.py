"""Reading settings again while a program runs."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mishards.errors import ConfigError
from mishards.options import Given, Loaded, about, file_layer, load, settings
from mishards.options.reload import reload, reread, value_of


@dataclass(frozen=True, slots=True)
class Inner:
    """An inner part."""

    least: int = field(default=1, metadata=about("a number"))
    most: int = field(default=10, metadata=about("another"))
    token: str = field(default="", metadata=about("a secret", secret=True))

    def __post_init__(self) -> None:
        if self.least > self.most:
            raise ValueError("least is more than most")


@dataclass(frozen=True, slots=True)
class Schema:
    """The whole."""

    name: str = field(default="", metadata=about("a name"))
    inner: Inner = field(default_factory=Inner)


KEYS = [setting.key for setting in settings(Schema)]


def loaded(**values: object) -> Loaded[Schema]:
    return load(Schema, {key.replace("__", "."): Given(value, "test") for key, value in values.items()})


@given(
    st.sets(st.sampled_from(KEYS)),
    st.tuples(st.integers(-5, 0), st.integers(0, 5), st.text("ab")),
    st.text("ab", max_size=3),
)
def test_exactly_what_may_change_changes_and_the_rest_is_named(
    reloadable: set[str], inner: tuple[int, int, str], name: str
) -> None:
    now = loaded(name=name, inner__least=inner[0], inner__most=inner[1], inner__token=inner[2])
    if inner[0] > 1 or inner[1] < 1:
        reloadable |= {"inner.least", "inner.most"}  # else what stays would not fit with what is taken
    ordered = reload(Schema(), now, reloadable)
    for key in KEYS:
        expected = now.options if key in reloadable else Schema()
        assert value_of(ordered.options, key) == value_of(expected, key)
    changed = {key for key in KEYS if value_of(now.options, key) != value_of(Schema(), key)}
    assert {change.key for change in ordered.taken} == changed & reloadable
    assert {change.key for change in ordered.needing_restart} == changed - reloadable


def test_secrets_are_not_told() -> None:
    found = reload(Schema(), loaded(inner__token="very-secret"), set())  # noqa: S106 - no password
    (change,) = found.needing_restart
    assert str(change) == "inner.token: nothing → *** (test)"


def test_what_does_not_fit_with_what_stays_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"inner\.least.*least is more than most"):
        reload(Schema(), loaded(inner__least=50, inner__most=100), {"inner.least"})


def test_two_settings_that_fit_only_together_are_taken_together() -> None:
    found = reload(Schema(), loaded(inner__least=50, inner__most=100), {"inner.least", "inner.most"})
    assert (found.options.inner.least, found.options.inner.most) == (50, 100)


def test_the_log_says_what_was_taken_what_waits_and_what_is_wrong(tmp_path: Path) -> None:
    path, said = tmp_path / "options.yaml", []

    def again(before: Schema) -> Schema:
        said.clear()
        return reread(
            before,
            lambda: load(Schema, file_layer(path, Schema)),
            {"inner.most"},
            lambda level, text: said.append((level, text)),
        )

    path.write_text("name: a\ninner:\n  most: 20\n")
    options = again(Schema())
    assert (options.name, options.inner.most) == ("", 20)
    assert said == [
        (logging.INFO, f"setting changed inner.most: 10 → 20 ({path}:3)"),
        (logging.WARNING, f"setting changed, needs a restart name: nothing → a ({path}:1)"),
    ]
    path.write_text("inner:\n  most: 20\n  mots: 30\n")
    assert again(options) is options
    ((level, text),) = said
    assert level == logging.ERROR
    assert f"{path}:3" in text
    assert "did you mean inner.most?" in text
    path.write_text("inner: {most: 20}\n")
    assert again(options) == options
    assert said == [(logging.INFO, "settings read again, none has changed")]
