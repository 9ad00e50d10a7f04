"""Faults of the shared folder: full for all, or hanging and failing for one node."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from faults.fault_row import ALL_WORK, Expected, Fails, May, Row, Works
from faults.fault_stage import BACK_S, Stage

from harness.faults.fuse_folder import FuseFolder
from harness.faults.small_disk import SmallDisk
from harness.traffic import DELETE, INSERT, SEARCH, STRONG
from harness.waiting import eventually


@contextlib.contextmanager
def disk_full(stage: Stage, seconds: float) -> Iterator[None]:
    """There is no room in the shared folder, nor for the writer's log."""
    disk, log = stage.disk, stage.log
    assert disk is not None
    assert log is not None
    try:
        log.fill()
        eventually(lambda: _is_filled(disk), BACK_S, "the disk is full")
        yield
    finally:
        disk.heal()
        log.heal()


def _is_filled(disk: SmallDisk) -> bool:
    try:
        disk.fill()
    except OSError:  # somebody took room meanwhile
        return False
    return True


@contextlib.contextmanager
def storage_faulty(stage: Stage, seconds: float) -> Iterator[None]:
    """For one node, the shared folder hangs, then gives EIO, then ESTALE, for a third of the time each."""
    faulty = stage.faulty
    assert faulty is not None
    try:
        faulty.hang()
        stage.pause(seconds / 3)
        faulty.fail(errno.EIO)
        stage.pause(seconds / 3)
        faulty.fail(errno.ESTALE)
        yield
    finally:
        faulty.heal()


_NO_WRITES: Expected = {
    SEARCH: Works(at_once=1.0),
    STRONG: May(),  # with deletes in no segment yet it asks for a flush
    INSERT: Fails("(?i)no space left", after_s=0.5),
    DELETE: May(),  # nothing is deleted while nothing can be inserted
}

ROWS = [
    Row(17, "the disk is full", disk_full, 3, 20, _NO_WRITES, FuseFolder.missing),
    Row(18, "one node's storage hangs and fails", storage_faulty, 4, 30, ALL_WORK, FuseFolder.missing),
]
