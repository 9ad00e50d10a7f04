"""A plugin whose library is not installed names the extra that brings it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mishards.errors import PluginError
from mishards.plugins import load

NEEDS = {
    "consul": "httpx",
    "dns": "dns",
    "dns+srv": "dns",
    "etcd": "httpx",
    "kubernetes": "httpx",
    "kubernetes+pods": "httpx",
    "zookeeper": "kazoo",
}

_WITHOUT_THEM = """
import json, sys
sys.modules.update(dict.fromkeys(["httpx", "kazoo", "dns"]))
from mishards.plugins import installed
print(json.dumps({p.name: p.problem for p in installed() if p.group == "mishards.discovery"}))
"""


@pytest.fixture(scope="module")
def problems() -> dict[str, str]:
    done = subprocess.run([sys.executable, "-c", _WITHOUT_THEM], capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", NEEDS)
def test_a_discovery_without_its_library_names_the_extra(problems: dict[str, str], name: str) -> None:
    extra = name.partition("+")[0]
    assert problems[name].startswith(f"discovery plugin '{name}' needs the package {NEEDS[name]}, ")
    assert problems[name].endswith(f"pip install 'mishards[{extra}]'")


def test_those_that_need_no_library_can_be_used_without_any(problems: dict[str, str]) -> None:
    assert {name for name, problem in problems.items() if not problem} >= {"file", "static"}


@pytest.mark.parametrize(("mistyped", "meant"), [("consol", "consul"), ("kubernets", "kubernetes"), ("etc", "etcd")])
def test_a_discovery_that_is_mistyped_is_recognised(mistyped: str, meant: str) -> None:
    with pytest.raises(PluginError, match=rf"installed are .*{meant}.*did you mean {meant}\?"):
        load("mishards.discovery", mistyped)
