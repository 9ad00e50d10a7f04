"""The units are valid, and the settings beside them are those of the programs."""

from __future__ import annotations

import subprocess

import pytest

from harness.deployed import DEPLOY, check_options
from harness.processes import find_program
from milvus_node.config import NodeOptions, load_options
from mishards.config import RouterOptions, load_config

SYSTEMD = DEPLOY / "systemd"
NOT_HERE = "is not executable: No such file or directory"
"""What is said of a program that is not installed on this machine."""


@pytest.mark.parametrize("name", ["mishards-router.service", "milvus-node@.service"])
def test_systemd_finds_no_fault_in_a_unit(name: str) -> None:
    tool = find_program("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed (Debian: systemd)")
    done = subprocess.run(
        [tool, "verify", "--man=no", SYSTEMD / name], capture_output=True, text=True, check=False, timeout=60
    )
    complaints = (done.stdout + done.stderr).splitlines()
    assert [line for line in complaints if not line.endswith(NOT_HERE)] == []


def test_the_settings_beside_the_units_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISHARDS_METADATA_URI", "mysql://milvus:secret@10.0.0.5:3306/milvus")
    monkeypatch.setenv("MILVUS_NODE_METADATA", "mysql://milvus:secret@10.0.0.5:3306/milvus")
    router: RouterOptions = load_config(SYSTEMD / "router.yaml", {}).options
    nodes: list[NodeOptions] = [
        load_options(SYSTEMD / f"node-{role}.yaml", {}).options for role in ("writable", "readonly")
    ]
    for options in (router, *nodes):
        check_options(options)
    assert [node.role.value for node in nodes] == ["writable", "readonly"]
    unit = (SYSTEMD / "milvus-node@.service").read_text(encoding="utf-8")
    for node in nodes:
        assert node.discovery == router.discovery.uri
        assert f"RequiresMountsFor={node.storage.path}\n" in unit
        assert f"ReadWritePaths={node.storage.path}\n" in unit
