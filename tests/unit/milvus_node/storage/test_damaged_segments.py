"""Damage is found once, named, and forgotten when the files change; deletes it kept back are not forgotten."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from milvus_node.errors import SegmentDamaged, SegmentMissing
from milvus_node.storage import owed_deletes
from milvus_node.storage.damage import DamagedSegments
from milvus_node.storage.segment_folder import SegmentFolder

IDS = np.array([7, 8, 9], np.int64)


@pytest.fixture
def folder(tmp_path: Path) -> SegmentFolder:
    found = SegmentFolder(tmp_path / "1", bloom_filters=False)
    found.write_raw(IDS, np.zeros((3, 2), np.float32))
    return found


def spoil(path: Path) -> bytes:
    """Change the last byte, and return what was there."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return content


def restore(path: Path, content: bytes) -> None:
    """Put a copy in the file's place; times alone may be too coarse to tell them apart."""
    copy = path.with_name("copy")
    copy.write_bytes(content)
    copy.replace(path)


def test_damage_is_read_and_logged_once_and_named_every_time(
    folder: SegmentFolder, caplog: pytest.LogCaptureFixture
) -> None:
    damaged, reads = DamagedSegments(), 0
    sound = spoil(folder.path / "1.uid")
    for _ in range(3):
        with pytest.raises(SegmentDamaged, match=r"1\.uid is damaged"), damaged.watch(folder.path):  # noqa: PT012 - counted
            reads += 1
            folder.read_ids()
    assert reads == 1
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert damaged.has(folder.path)
    assert len(damaged.texts) == 1
    restore(folder.path / "1.uid", sound)
    assert not damaged.has(folder.path)
    with damaged.watch(folder.path):
        assert folder.read_ids().tolist() == [7, 8, 9]
    assert damaged.texts == []


def test_damage_can_be_forgotten_and_is_no_other_error(folder: SegmentFolder) -> None:
    damaged = DamagedSegments()
    spoil(folder.path / "1.uid")
    with pytest.raises(SegmentDamaged), damaged.watch(folder.path):
        folder.read_ids()
    damaged.forget()
    assert not damaged.has(folder.path)
    with pytest.raises(SegmentMissing), damaged.watch(folder.path):
        raise SegmentMissing("another file")
    assert damaged.texts == []


def test_owed_deletes_are_deleted_rows_until_they_are_written_as_such(folder: SegmentFolder) -> None:
    folder.write_deleted(np.array([0]))
    owed_deletes.add(folder.path, np.array([9, 1234], np.int64))
    owed_deletes.add(folder.path, np.array([9, -1], np.int64))
    assert owed_deletes.read(folder.path).tolist() == [-1, 9, 1234]
    assert folder.read_deleted().tolist() == [0, 2]
    assert folder.read_deleted(IDS).tolist() == [0, 2]
    folder.write_deleted(folder.read_deleted())
    assert not (folder.path / "mishards_owed").exists()
    assert folder.read_deleted().tolist() == [0, 2]
    owed_deletes.settle(folder.path)


def test_owed_deletes_that_are_damaged_are_not_passed_over(folder: SegmentFolder) -> None:
    owed_deletes.add(folder.path, IDS)
    os.truncate(folder.path / "mishards_owed", 20)
    with pytest.raises(SegmentDamaged, match="mishards_owed is damaged"):
        folder.read_deleted()
