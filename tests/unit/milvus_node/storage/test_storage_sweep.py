from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvus_node.storage.layout import StorageLayout
from milvus_node.storage.segment_folder import SegmentFolder
from milvus_node.storage.sweep import ListedFile, ListedSegment, Swept, removals, sweep

NOW = 2_000_000_000.0
OLD = NOW - 1000
YOUNG = NOW - 10
RAW = ("5.rv", "5.rv.sum", "5.uid", "5.uid.sum", "deleted_docs", "deleted_docs.sum", "bloom_filter")
INDEX = ("17", "17.sum")
TEMPORARY = ("17.123-0a1b2c3d.tmp", "deleted_docs.9-00000000.tmp")
FOREIGN = ("temp_del", "notes.txt", "17.sum.bak", "6.rv", "lost.tmp", "x.12-xyz.tmp", ".hidden")


def nothing(table_id: str, segment_id: str) -> bool:
    return False


def listed(*names: str, modified: float = OLD, foreign: int = 0) -> ListedSegment:
    return ListedSegment("words", "5", modified, tuple(ListedFile(n, 1, modified) for n in names), foreign)


def decided(segment: ListedSegment, *named: tuple[str, str, str]) -> tuple[set[str], bool]:
    files: set[str] = set()
    folder = False
    for removal in removals([segment], set(named), NOW - 100):
        files |= {file.name for file in removal.files}
        folder |= removal.folder
    return files, folder


def test_an_orphan_segment_goes_with_its_folder() -> None:
    assert decided(listed(*RAW, *INDEX, *TEMPORARY)) == ({*RAW, *INDEX, *TEMPORARY}, True)
    assert decided(listed()) == (set(), True)


def test_a_named_segment_keeps_its_raw_files_and_named_indexes() -> None:
    segment = listed(*RAW, *INDEX, "18", "18.sum", *TEMPORARY)
    assert decided(segment, ("words", "5", "5"), ("words", "5", "17")) == ({"18", "18.sum", *TEMPORARY}, False)
    assert decided(segment, ("words", "5", "17")) == ({"18", "18.sum", *TEMPORARY}, False)


def test_a_row_of_another_segment_or_table_names_nothing_here() -> None:
    assert decided(listed(*RAW), ("words", "6", "5"), ("other", "5", "5")) == (set(RAW), True)


def test_what_is_not_recognised_stays_with_its_folder() -> None:
    assert decided(listed(*FOREIGN)) == (set(), False)
    assert decided(listed(*RAW, *FOREIGN)) == (set(RAW), False)
    assert decided(listed(*RAW, foreign=1)) == (set(RAW), False)
    assert decided(listed(*FOREIGN), ("words", "5", "5")) == (set(), False)


def test_what_is_young_stays() -> None:
    assert decided(listed(*RAW, *TEMPORARY, modified=YOUNG)) == (set(), False)
    assert decided(listed(*INDEX, *TEMPORARY, modified=YOUNG), ("words", "5", "5")) == (set(), False)


def test_one_young_file_keeps_an_orphan_segment_whole() -> None:
    files = (ListedFile("5.rv", 1, OLD), ListedFile("17", 1, YOUNG))
    assert decided(ListedSegment("words", "5", OLD, files)) == (set(), False)


@given(
    st.lists(st.sampled_from([*RAW, *INDEX, *TEMPORARY, *FOREIGN]), unique=True),
    st.sets(st.sampled_from(["5", "17", "18"])),
)
def test_no_decision_ever_takes_a_named_or_foreign_file(names: list[str], file_ids: set[str]) -> None:
    files, folder = decided(listed(*names), *(("words", "5", file_id) for file_id in file_ids))
    assert not files & set(FOREIGN)
    assert not files & {name for name in names if name.removesuffix(".sum") in file_ids}
    if file_ids:
        assert not files & set(RAW)
        assert not folder
    if folder:
        assert files == set(names)


# --- on disk -------------------------------------------------------------------------------------------------


def written(layout: StorageLayout, table_id: str, segment_id: str) -> SegmentFolder:
    folder = layout.segment(table_id, segment_id)
    folder.write_raw(np.arange(3), np.zeros((3, 2), np.float32), bloom_filter=False)
    folder.write_file("17", lambda path: path.write_bytes(b"index"))
    return folder


def age(root: Path) -> None:
    for path in [*root.rglob("*"), root]:
        os.utime(path, (OLD, OLD))


def test_a_sweep_removes_orphans_from_disk_and_reports_them(tmp_path: Path) -> None:
    layout = StorageLayout(tmp_path)
    kept, indexed, orphan = written(layout, "words", "5"), written(layout, "words", "6"), written(layout, "gone", "7")
    (tmp_path / "db" / "tables" / "lost+found").mkdir()
    size = sum(path.stat().st_size for path in orphan.path.iterdir())
    age(tmp_path)
    named = {("words", "5", "5"), ("words", "5", "17"), ("words", "6", "6")}
    swept = sweep(layout, lambda: named, nothing, now=NOW, grace_s=100)
    assert len(list(kept.path.iterdir())) == 8
    assert {path.name for path in indexed.path.iterdir()} == {
        "6.rv",
        "6.rv.sum",
        "6.uid",
        "6.uid.sum",
        "deleted_docs",
        "deleted_docs.sum",
    }
    assert not orphan.path.parent.exists()
    assert (tmp_path / "db" / "tables" / "lost+found").exists()
    assert swept == Swept(folders=1, files=10, size=size + 5 + indexed_sum_bytes())


def indexed_sum_bytes() -> int:
    return len(b'{"size": 5, "crc32": "00000000"}\n')


def test_within_the_grace_period_nothing_is_swept(tmp_path: Path) -> None:
    layout = StorageLayout(tmp_path)
    written(layout, "words", "5")
    age(tmp_path)
    assert sweep(layout, set, nothing, now=NOW, grace_s=1001) == Swept()


def test_what_is_in_progress_stays(tmp_path: Path) -> None:
    layout = StorageLayout(tmp_path)
    busy, idle = written(layout, "words", "5"), written(layout, "words", "6")
    age(tmp_path)
    sweep(layout, set, lambda table_id, segment_id: (table_id, segment_id) == ("words", "5"), now=NOW, grace_s=100)
    assert len(list(busy.path.iterdir())) == 8
    assert not idle.path.exists()


def test_links_are_neither_followed_nor_removed(tmp_path: Path) -> None:
    layout = StorageLayout(tmp_path / "root")
    outside = written(StorageLayout(tmp_path / "outside"), "words", "5")
    (layout.tables_path / "words").mkdir(parents=True)
    (layout.tables_path / "linked").symlink_to(outside.path.parent)
    (layout.tables_path / "words" / "5").symlink_to(outside.path)
    age(tmp_path)
    sweep(layout, set, nothing, now=NOW, grace_s=100)
    assert len(list(outside.path.iterdir())) == 8
    assert (layout.tables_path / "words" / "5").is_symlink()


def test_an_absent_storage_has_nothing_to_sweep(tmp_path: Path) -> None:
    assert sweep(StorageLayout(tmp_path), set, nothing, now=NOW, grace_s=0) == Swept()


@pytest.mark.parametrize("table_id", ["words", "1795311038198151000"])
def test_an_empty_table_folder_goes_only_when_no_one_names_the_table(tmp_path: Path, table_id: str) -> None:
    layout = StorageLayout(tmp_path)
    layout.table_path(table_id).mkdir(parents=True)
    age(tmp_path)
    sweep(layout, lambda: {(table_id, "9", "9")}, nothing, now=NOW, grace_s=100)
    assert layout.table_path(table_id).exists()
    sweep(layout, set, nothing, now=NOW, grace_s=100)
    assert not layout.table_path(table_id).exists()
