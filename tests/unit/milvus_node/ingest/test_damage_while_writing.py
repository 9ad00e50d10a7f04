"""A damaged segment holds nothing else up: deletes, flushes and merges go on around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.write_path import OpenWritePath, WritePath
from milvus_node.errors import SegmentDamaged, SegmentMissing, StorageError
from milvus_node.ingest.maintenance import Maintenance, MaintenanceOptions
from milvus_node.search.segment import load_segment
from milvus_node.storage import raw_segment
from milvus_node.storage.segment_folder import SegmentFolder
from mishards.catalog.snapshot import Segment
from mishards.errors import BuildFailed
from mishards.kinds import IndexType


def segments_of(node: WritePath, *ids: list[int]) -> list[Segment]:
    """A collection with a segment of each of these."""
    node.create()
    for each in ids:
        node.insert(each)
        node.flush()
    return list(node.collection().segments)


def folder_of(node: WritePath, segment: Segment) -> SegmentFolder:
    return node.parts.layout.segment(segment.table_id, segment.segment_id)


def spoiled(folder: SegmentFolder, suffix: str) -> tuple[Path, bytes]:
    """Change a file's last byte; the file and what it held."""
    path = folder.path / (folder.segment_id + suffix)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return path, content


def restore(path: Path, content: bytes) -> None:
    """Put a copy in the file's place; times alone may be too coarse to tell them apart."""
    copy = path.with_name("copy")
    copy.write_bytes(content)
    copy.replace(path)


def live_ids(node: WritePath, segment: Segment) -> list[int]:
    loaded = load_segment(node.parts.layout, node.collection(), segment)
    mask = loaded.tombstones.mask
    return [int(i) for i in (loaded.ids if mask is None else loaded.ids[~mask])]


@pytest.mark.parametrize("is_gone", [False, True])
def test_the_others_are_compacted_and_a_damaged_segment_is_named_at_the_end(node: WritePath, is_gone: bool) -> None:
    first, second, third = segments_of(node, [1, 2], [3, 4], [5, 6])
    node.delete([1, 3, 5])
    node.flush()
    path, content = spoiled(folder_of(node, second), ".rv")
    if is_gone:
        path.unlink()
    with pytest.raises(StorageError, match=f"1 segments of words cannot be compacted.*{path.name}"):
        node.rewriter.compact("words")
    left = {segment.segment_id for segment in node.collection().segments}
    assert second.segment_id in left
    assert not {first.segment_id, third.segment_id} & left
    restore(path, content)
    node.rewriter.compact("words")
    assert second.segment_id not in {segment.segment_id for segment in node.collection().segments}
    assert node.ids() == [2, 4, 6]


@pytest.mark.parametrize("is_gone", [False, True])
def test_deletes_go_on_around_a_damaged_segment_and_hold_when_it_is_repaired(
    open_node: OpenWritePath, is_gone: bool
) -> None:
    node = open_node()
    first, second = segments_of(node, [1, 2, 3], [4, 5])
    node = open_node()  # that knows no ids
    path, content = spoiled(folder_of(node, first), ".uid")
    if is_gone:
        path.unlink()
    node.delete([2, 5])
    node.insert([6])
    node.flush()
    assert node.parts.buffer.pending() == []
    assert live_ids(node, second) == [4]
    with pytest.raises((SegmentDamaged, SegmentMissing), match=path.name):
        load_segment(node.parts.layout, node.collection(), first)
    restore(path, content)
    assert live_ids(node, first) == [1, 3]
    node.delete([3])
    node.flush()
    assert live_ids(node, first) == [1]
    assert not (path.parent / "mishards_owed").exists()
    node.rewriter.compact("words")
    assert node.ids() == [1, 4, 6]


def test_a_node_that_has_a_damaged_segment_in_memory_sees_its_deletes(open_node: OpenWritePath) -> None:
    (segment,) = segments_of(open_node(), [1, 2, 3])
    node = open_node()
    loaded = load_segment(node.parts.layout, node.collection(), segment)
    spoiled(folder_of(node, segment), ".uid")
    node.delete([2])
    node.flush()
    (now,) = node.collection().segments
    assert now.version > segment.version
    mask = loaded.tombstones_at(now.version).mask
    assert mask is not None
    assert mask.tolist() == [False, True, False]


def test_a_folder_that_is_away_is_no_damage(open_node: OpenWritePath) -> None:
    (segment,) = segments_of(open_node(), [1])
    node = open_node()
    node.delete([1])
    path = folder_of(node, segment).path
    path.rename(path.with_name("away"))
    with pytest.raises(SegmentMissing):
        node.flush()
    path.with_name("away").rename(path)
    node.flush()
    assert node.ids() == []


def test_ids_are_read_once_for_the_deletes_of_many_flushes(
    open_node: OpenWritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments_of(open_node(), [1, 2], [3, 4])
    node = open_node()
    reads: list[str] = []
    read_ids = SegmentFolder.read_ids

    def counted(folder: SegmentFolder) -> np.ndarray:
        reads.append(folder.segment_id)
        return read_ids(folder)

    monkeypatch.setattr(SegmentFolder, "read_ids", counted)
    for unknown in (100, 101, 102):
        node.delete([unknown])
        node.flush()
    assert len(reads) == 2
    node.insert([5])
    node.flush()
    node.delete([5])
    node.flush()
    assert len(reads) == 3
    monkeypatch.undo()
    assert node.ids() == [1, 2, 3, 4]


def test_a_damaged_segment_is_read_once_and_the_others_are_merged(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second, _ = segments_of(node, [1], [2], [3])
    path, content = spoiled(folder_of(node, second), ".rv")
    work = Maintenance(node.parts, node.flusher, node.collections, node.builder, MaintenanceOptions())
    with pytest.raises(SegmentDamaged, match=path.name):
        work.merge()
    work.merge()
    assert len(node.collection().segments) == 2
    with monkeypatch.context() as reading:
        reading.setattr(raw_segment, "_open", pytest.fail)
        work.merge()
    assert node.parts.layout.damaged.texts[0].startswith(str(path))
    restore(path, content)
    work.merge()
    assert node.ids() == [1, 2, 3]
    assert len(node.collection().segments) == 1


def test_a_damaged_segment_is_not_indexed_again_and_again(node: WritePath, monkeypatch: pytest.MonkeyPatch) -> None:
    (segment,) = segments_of(node, list(range(5000)))
    path, _ = spoiled(folder_of(node, segment), ".rv")
    with pytest.raises(BuildFailed, match=path.name):
        node.collections.create_index(node.collection(), IndexType.IVF_FLAT, '{"nlist":16}')
    work = Maintenance(node.parts, node.flusher, node.collections, node.builder, MaintenanceOptions())
    with monkeypatch.context() as reading:
        reading.setattr(raw_segment, "_open", pytest.fail)
        work.build()
    node.parts.layout.damaged.forget()
    with pytest.raises(SegmentDamaged, match=path.name):
        work.build()
