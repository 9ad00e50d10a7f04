from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mishards.errors import PluginError
from mishards.plugins import GROUPS, installed, load, scheme_of

PACKAGE = """Metadata-Version: 2.1
Name: stranger
Version: 1.0
Provides-Extra: needy
"""
ENTRIES = """[mishards.discovery]
needy = stranger_plugin_needy:plugin
poor = stranger_plugin_poor:plugin
broken = stranger_plugin:absent
strange = stranger_plugin:plugin
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that is on the path but not installed."""
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(PACKAGE, encoding="utf-8")
    (info / "entry_points.txt").write_text(ENTRIES, encoding="utf-8")
    (tmp_path / "stranger_plugin.py").write_text("plugin = 'found'\n", encoding="utf-8")
    for name in ("needy", "poor"):
        (tmp_path / f"stranger_plugin_{name}.py").write_text("import no_such_library.part\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.startswith("stranger_plugin")]:
        del sys.modules[name]


@pytest.mark.usefixtures("stranger")
def test_a_strangers_plugin_is_found_by_its_name() -> None:
    assert load("mishards.discovery", "strange") == "found"


def test_an_unknown_name_lists_the_installed_and_the_closest() -> None:
    with pytest.raises(PluginError, match=r"'statik'; installed are .*file.*; did you mean static\?"):
        load("mishards.discovery", "statik")


def test_a_family_without_plugins_says_so() -> None:
    with pytest.raises(PluginError, match="installed are none"):
        load("mishards.nonsense", "x")


@pytest.mark.usefixtures("stranger")
def test_a_missing_library_names_the_extra_of_the_package_that_brought_the_plugin() -> None:
    with pytest.raises(PluginError, match=r"needs the package no_such_library.*pip install 'stranger\[needy\]'"):
        load("mishards.discovery", "needy")


@pytest.mark.usefixtures("stranger")
def test_a_missing_library_without_an_extra_is_named() -> None:
    with pytest.raises(PluginError, match=r"not installed: install no_such_library$"):
        load("mishards.discovery", "poor")


@pytest.mark.usefixtures("stranger")
def test_the_list_of_plugins_says_what_is_wrong_with_each() -> None:
    problems = {plugin.name: plugin.problem for plugin in installed() if plugin.distribution == "stranger 1.0"}
    assert problems["strange"] == ""
    assert "no_such_library" in problems["needy"]
    assert "cannot be loaded" in problems["broken"]


def test_our_own_plugins_are_installed_and_can_be_loaded() -> None:
    ours = [plugin for plugin in installed() if plugin.distribution.startswith("mishards ")]
    assert {"file", "static", "consistent_hash", "adaptive"} <= {plugin.name for plugin in ours}
    assert {plugin.group for plugin in ours} <= set(GROUPS)


def test_a_uri_without_a_scheme_is_refused_with_an_example() -> None:
    assert scheme_of("file:///x", "y") == "file"
    with pytest.raises(PluginError, match="expected a URI such as file:///x"):
        scheme_of("10.0.0.1", "file:///x")
