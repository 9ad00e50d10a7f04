"""What ``setup.cfg`` says is installed is what the tree has."""

from __future__ import annotations

import ast
import configparser
import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")

ENTRY_POINTS = [
    (group, *(part.strip() for part in line.split("=")))
    for group, lines in SETUP["options.entry_points"].items()
    for line in lines.split("\n")
    if line
]


def test_the_list_of_packages_is_the_tree() -> None:
    found = {
        ".".join(path.parent.relative_to(root).parts)
        for root, top in ((ROOT, "mishards"), (ROOT, "milvus_node"), (ROOT / "plugins", "mishards_plugins"))
        for path in (root / top).rglob("__init__.py")
    }
    listed = SETUP["options"]["packages"].split()
    assert found == set(listed)
    assert listed == sorted(listed)


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for top in ("mishards", "milvus_node", "plugins") for path in (ROOT / top).rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


@pytest.mark.parametrize(("group", "name", "target"), ENTRY_POINTS)
def test_an_entry_point_loads(group: str, name: str, target: str) -> None:
    module, _, attribute = target.partition(":")
    loaded = getattr(importlib.import_module(module), attribute)
    assert callable(loaded) or group != "console_scripts", f"{name} = {target} cannot be called"


def test_the_installed_entry_points_are_the_declared_ones() -> None:
    installed = importlib.metadata.distribution("mishards").entry_points
    assert {(point.group, point.name, point.value) for point in installed} == set(ENTRY_POINTS), "install again"


def test_every_backends_extra_is_in_all() -> None:
    extras = SETUP["options.extras_require"]
    backends = sorted(extras.keys() - {"all", "dev", "testing"})
    assert extras["all"].strip() == f"mishards[{','.join(backends)}]"


@pytest.mark.parametrize("package", ["mishards", "milvus_node", "mishards_plugins"])
def test_importing_a_package_starts_nothing(package: str) -> None:
    """No backend's library is imported, no thread started, no environment read by ``import``."""
    script = f"import sys, threading, {package}; print(threading.active_count(), 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]


def test_what_is_compiled_exists_and_is_named_in_order() -> None:
    declared = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    (patterns,) = [
        ast.literal_eval(node.value)
        for node in declared.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMPILED"
    ]
    assert patterns
    assert list(patterns) == sorted(patterns)
    assert not [pattern for pattern in patterns if not list(ROOT.glob(pattern))]
