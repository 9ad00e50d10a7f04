"""What the tools of faults say of a machine on which they cannot be had, and where they find control groups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.faults import cgroups
from harness.faults.cgroups import Hierarchy
from harness.faults.clock import JumpingClock
from harness.faults.cpu_quota import CpuQuota
from harness.faults.fuse_fault import Fault, Kind
from harness.faults.fuse_folder import FuseFolder
from harness.faults.partition import Partition
from harness.faults.privileges import Capability, lacks
from harness.faults.small_disk import SmallDisk

_FAULTS = "harness.faults"


@pytest.mark.parametrize(
    ("missing", "lacking", "said"),
    [
        (FuseFolder.missing, {"fuse_folder.lacks": True}, "CAP_SYS_ADMIN"),
        (FuseFolder.missing, {"fuse_folder.os.access": False}, "no /dev/fuse"),
        (FuseFolder.missing, {"fuse_folder.os.access": True, "fuse_folder.find_library": None}, "Debian: fuse3"),
        (Partition.missing, {"partition.lacks": True}, "CAP_NET_ADMIN"),
        (Partition.missing, {"partition.find_program": None}, "Debian: iptables"),
        (CpuQuota.missing, {"cpu_quota.hierarchy": None}, "control group"),
        (JumpingClock.missing, {"clock._library": None}, "Debian: faketime"),
        (SmallDisk.missing, {"small_disk.lacks": True}, "CAP_SYS_ADMIN"),
    ],
)
def test_a_tool_names_what_it_lacks(
    missing: Callable[[], str], lacking: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("fuse_folder", "partition", "small_disk"):
        monkeypatch.setattr(f"{_FAULTS}.{module}.lacks", lambda _: False)
    for place, answer in lacking.items():
        monkeypatch.setattr(f"{_FAULTS}.{place}", lambda *_, answer=answer: answer)
    assert said in missing()


@pytest.mark.parametrize(("mask", "expected"), [("1000", False), ("0", True), ("1ffffefff", True)])
def test_a_capability_is_read_from_the_mask_of_the_process(
    mask: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: f"Name:\tpython\nCapEff:\t{mask:>016}\n")
    assert lacks(Capability.NET_ADMIN) is expected


@pytest.mark.parametrize(
    ("files", "controller", "expected"),
    [
        ({"cpu/cgroup.procs": ""}, "cpu", ("cpu", 1)),
        ({"cgroup.controllers": "cpu io"}, "cpu", (".", 2)),
        ({"cgroup.controllers": "io"}, "cpu", None),
        ({"cgroup.controllers": "io"}, "freezer", (".", 2)),
        ({"cpu/cgroup.procs": "", "unified/cgroup.controllers": ""}, "freezer", ("unified", 2)),
        ({}, "freezer", None),
    ],
)
def test_a_control_group_is_made_where_the_kernel_has_its_controller(
    files: dict[str, str],
    controller: str,
    expected: tuple[str, int] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(cgroups, "_ROOT", tmp_path)
    assert cgroups.hierarchy(controller) == (Hierarchy(tmp_path / expected[0], expected[1]) if expected else None)


def test_a_fault_of_a_folder_is_read_as_it_was_written_and_covers_what_is_under_its_path() -> None:
    fault = Fault(Kind.FAIL, number=5, under="db/tables")
    assert Fault.decoded(fault.encoded()) == fault
    covered = ["/db/tables", "/db/tables/1", "/db/tables2", "/db", "/"]
    assert [fault.covers(path) for path in covered] == [True, True, False, False, False]
    assert all(Fault(Kind.HANG).covers(path) for path in covered)
