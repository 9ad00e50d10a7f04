"""Faults of the shared folder: full for all, or hanging and failing for one node."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Iterator

from faults.fault_row import ALL_WORK, Expected, Fails, May, Row, Works
from faults.fault_stage import BACK_S, Stage

from harness.faults.fuse_folder import FuseFolder
from harness.faults.small_disk import SmallDisk
from harness.traffic import DELETE, INSERT, SEARCH, STRONG


@contextlib.contextmanager
def disk_full(stage: Stage, seconds: float) -> Iterator[None]:
    """There is no room in the shared folder; what becomes free is taken at once."""
    disk, stopping = stage.disk, threading.Event()
    assert disk is not None

    def fill() -> None:
        while not stopping.wait(0.01):
            with contextlib.suppress(OSError):  # it is full
                disk.fill()

    thread = threading.Thread(target=fill, name="fill")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(BACK_S)
        disk.heal()


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
    INSERT: Fails("(?i)no space left", after_s=1, but=0.49),  # what is superseded goes, and leaves room
    DELETE: May(),  # so little fits into a page of the log that is begun
}

ROWS = [
    Row(17, "the disk is full", disk_full, 3, 30, _NO_WRITES, SmallDisk.missing),
    Row(18, "one node's storage hangs and fails", storage_faulty, 6, 30, ALL_WORK, FuseFolder.missing),
]
