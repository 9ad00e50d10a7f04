from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from mishards.catalog.records import FileRecord, FileType, IdMode, TableRecord, TableState
from mishards.catalog.snapshot import Collection, Snapshot, assemble, in_merge_gap
from mishards.errors import CollectionNotFound
from mishards.kinds import DEFAULT_TAG, IndexType, MetricType

RAW, TO_INDEX, INDEX, TO_DELETE = FileType.RAW, FileType.TO_INDEX, FileType.INDEX, FileType.TO_DELETE
NEW_MERGE, BACKUP = FileType.NEW_MERGE, FileType.BACKUP


def table(id: int, table_id: str, owner: str = "", tag: str = "", **columns: Any) -> TableRecord:
    known: dict[str, Any] = {
        "state": 0,
        "dimension": 128,
        "created_on": 1000 + id,
        "flag": 0,
        "index_file_size": 1 << 30,
        "engine_type": 1,
        "index_params": "{}",
        "metric_type": 1,
        "version": "1.0.0",
        "flush_lsn": 0,
    }
    return TableRecord(id=id, table_id=table_id, owner_table=owner, partition_tag=tag, **{**known, **columns})


def file(id: int, segment_id: str, file_type: int, *, table_id: str = "words", **columns: Any) -> FileRecord:
    known: dict[str, Any] = {
        "engine_type": 1,
        "file_id": segment_id if file_type not in (INDEX, FileType.NEW_INDEX) else f"{segment_id}{id}",
        "file_size": 100,
        "row_count": 10,
        "updated_time": 1000,
        "created_on": 1000,
        "date": 1_261_022,
        "flush_lsn": 0,
    }
    return FileRecord(id=id, table_id=table_id, segment_id=segment_id, file_type=file_type, **{**known, **columns})


def snapshot(tables: Iterable[TableRecord], files: Iterable[FileRecord]) -> Snapshot:
    return Snapshot(1, 0.0, assemble(tables, files))


def words(*files: FileRecord) -> Collection:
    return assemble([table(1, "words")], files)["words"]


# --- which file of a segment is searched -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "chosen"),
    [
        ([RAW], RAW),
        ([TO_INDEX], TO_INDEX),
        ([BACKUP, INDEX], INDEX),
        ([TO_INDEX, INDEX], INDEX),  # an index just shown, its raw file not yet put behind it
        ([TO_INDEX, FileType.NEW_INDEX], TO_INDEX),
        ([BACKUP], BACKUP),  # an index just dropped, its raw file not yet back
        ([BACKUP, TO_DELETE], BACKUP),
        ([RAW, TO_DELETE], RAW),
        ([RAW, BACKUP], RAW),
        ([FileType.NEW], None),
        ([NEW_MERGE], None),
        ([FileType.NEW_INDEX], None),
        ([TO_DELETE], None),
        ([TO_DELETE, TO_DELETE, NEW_MERGE], None),
    ],
)
def test_each_segment_is_searched_through_one_file(kinds: list[FileType], chosen: FileType | None) -> None:
    rows = [file(number, "7", kind) for number, kind in enumerate(kinds, start=1)]
    for order in (rows, rows[::-1]):
        found = words(*order).segments
        assert [FileType(segment.file.file_type) for segment in found] == ([] if chosen is None else [chosen])


def test_the_raw_file_of_an_indexed_segment_is_at_hand() -> None:
    (segment,) = words(file(1, "7", BACKUP), file(2, "7", INDEX)).segments
    assert (segment.file.id, segment.raw and segment.raw.id, segment.is_indexed) == (2, 1, True)
    (segment,) = words(file(1, "7", RAW)).segments
    assert (segment.raw, segment.is_indexed) == (None, False)


def test_of_two_index_files_the_later_is_searched() -> None:
    (segment,) = words(file(1, "7", BACKUP), file(2, "7", INDEX), file(3, "7", INDEX)).segments
    assert segment.file.id == 3


def test_every_searchable_file_leads_to_its_segment() -> None:
    found = snapshot(
        [table(1, "words"), table(2, "9", "words", "p")],
        [file(1, "7", BACKUP), file(2, "7", INDEX), file(3, "8", RAW, table_id="9"), file(4, "6", TO_DELETE)],
    ).segments_by_file
    assert {id: segment.segment_id for id, segment in found.items()} == {1: "7", 2: "7", 3: "8"}


_FILES = st.lists(
    st.tuples(st.sampled_from("123"), st.sampled_from(["words", "9", "gone"]), st.sampled_from(list(FileType))),
    max_size=12,
)


@given(rows=_FILES, shuffle=st.randoms(use_true_random=False))
def test_assembling_agrees_with_a_naive_reading(rows: list[tuple[str, str, FileType]], shuffle: Any) -> None:
    files = [file(id, name, kind, table_id=owner) for id, (name, owner, kind) in enumerate(rows, start=1)]
    tables = [table(1, "words"), table(2, "9", "words", "p"), table(3, "gone", state=TableState.TO_DELETE)]
    shuffled = list(files)
    shuffle.shuffle(shuffled)
    (collection,) = assemble(tables, shuffled).values()
    for partition in collection.partitions:
        expected = {}
        for name in "123":
            of_segment = [f for f in files if (f.table_id, f.segment_id) == (partition.table_id, name)]
            for kind in (INDEX, TO_INDEX, RAW, BACKUP):
                candidates = [f for f in of_segment if f.file_type == kind]
                if candidates:
                    expected[name] = max(candidates, key=lambda f: f.id)
                    break
        assert {segment.segment_id: segment.file for segment in partition.segments} == expected
    assert len(collection.segments) == sum(len(partition.segments) for partition in collection.partitions)


# --- collections and partitions --------------------------------------------------------------------------------------


def test_partitions_come_in_order_of_creation_after_the_default_one() -> None:
    rows = [table(5, "b"), table(9, "3", "a", "y"), table(2, "a"), table(4, "2", "a", "z"), table(7, "1", "b", "x")]
    found = assemble(rows, [file(1, "7", RAW, table_id="2"), file(2, "8", RAW, table_id="a", row_count=5)])
    assert list(found) == ["a", "b"]
    assert found["a"].partition_tags == (DEFAULT_TAG, "z", "y")
    assert [partition.rows for partition in found["a"].partitions] == [5, 10, 0]
    assert found["a"].rows == 15
    partition = found["a"].partition("z")
    assert partition is not None
    assert partition.table_id == "2"
    assert found["a"].partition("x") is None


def test_what_is_being_deleted_is_hidden() -> None:
    tables = [
        table(1, "words"),
        table(2, "9", "words", "p", state=TableState.TO_DELETE),
        table(3, "dropped", state=TableState.TO_DELETE),
        table(4, "8", "dropped", "p"),
    ]
    found = assemble(tables, [file(1, "7", RAW, table_id="9"), file(2, "6", RAW, table_id="dropped")])
    assert list(found) == ["words"]
    assert found["words"].partition_tags == (DEFAULT_TAG,)
    assert found["words"].segments == ()


def test_a_snapshot_names_what_it_does_not_have() -> None:
    with pytest.raises(CollectionNotFound, match="Collection 9 does not exist"):
        snapshot([table(1, "words"), table(2, "9", "words", "p")], []).collection("9")


def test_a_collection_speaks_of_itself_in_the_terms_of_the_protocol() -> None:
    (found,) = assemble([table(1, "w", metric_type=3, engine_type=10, index_params="", flag=2)], []).values()
    assert (found.name, found.dimension, found.metric) == ("w", 128, MetricType.HAMMING)
    assert (found.index_type, found.index_params, found.id_mode) == (IndexType.BIN_IVF_FLAT, "{}", IdMode.USER)


# --- merge gaps ------------------------------------------------------------------------------------------------------

BEFORE = snapshot([table(1, "words")], [file(1, "a", RAW), file(2, "b", RAW)])
MERGE = file(3, "m", NEW_MERGE, created_on=2000)


def gap(files: list[FileRecord], tables: list[TableRecord] | None = None, before: Snapshot | None = BEFORE) -> object:
    return in_merge_gap(before, assemble(tables or [table(1, "words")], files), files)


def test_sources_that_vanish_before_their_merge_is_shown_are_a_gap() -> None:
    one = [file(1, "a", TO_DELETE, updated_time=2500), file(2, "b", RAW), MERGE]
    both = [file(1, "a", TO_DELETE, updated_time=2500), file(2, "b", TO_DELETE, updated_time=2501), MERGE]
    assert gap(one)
    assert gap(both)


def test_rows_flushed_since_the_last_look_do_not_hide_a_gap() -> None:
    """A writer merges right after a flush, so this is how most gaps look."""
    flushed = file(4, "c", RAW, updated_time=1900, created_on=1900)
    assert gap([file(1, "a", TO_DELETE, updated_time=2500), file(2, "b", RAW), flushed, MERGE])


def test_a_merge_at_work_and_one_that_ended_are_no_gap() -> None:
    assert not gap([file(1, "a", RAW), file(2, "b", RAW), MERGE])
    ended = file(3, "m", RAW, created_on=2000, updated_time=2502)
    assert not gap([file(1, "a", TO_DELETE, updated_time=2500), file(2, "b", TO_DELETE, updated_time=2501), ended])


def test_a_merge_that_ended_before_the_next_began_is_no_gap() -> None:
    ended = file(3, "m", RAW, created_on=2000, updated_time=2502)
    following = file(4, "n", NEW_MERGE, created_on=2600)
    gone = [file(1, "a", TO_DELETE, updated_time=2500), file(2, "b", TO_DELETE, updated_time=2501)]
    assert not gap([*gone, ended, following])


def test_segments_compacted_one_after_the_other_are_no_gap() -> None:
    """Compaction shows the new segment first, so its time is the earlier one."""
    compacted = file(3, "m", RAW, created_on=2000, updated_time=2499)
    following = file(4, "n", NEW_MERGE, created_on=2600)
    assert not gap([file(1, "a", TO_DELETE, updated_time=2500), compacted, file(2, "b", RAW), following])


def test_a_gap_is_known_for_each_partition_by_itself() -> None:
    tables = [table(1, "words"), table(2, "9", "words", "p")]
    before = snapshot(tables, [file(1, "a", RAW), file(2, "b", RAW, table_id="9")])
    gone = [file(1, "a", TO_DELETE, updated_time=2500), file(2, "b", RAW, table_id="9")]
    assert not gap([*gone, file(3, "m", NEW_MERGE, table_id="9", created_on=2000)], tables, before)
    assert gap([*gone, MERGE], tables, before)


def test_a_dropped_partition_or_collection_is_no_gap() -> None:
    tables = [table(1, "words"), table(2, "9", "words", "p")]
    before = snapshot(tables, [file(2, "b", RAW, table_id="9")])
    gone = [file(2, "b", TO_DELETE, table_id="9", updated_time=2500), file(3, "m", NEW_MERGE, table_id="9")]
    assert not gap(gone, [table(1, "words")], before)
    assert not gap(gone, [table(7, "other")], before)


def test_a_collection_made_in_the_place_of_a_dropped_one_is_no_gap() -> None:
    assert not gap([file(1, "a", TO_DELETE, updated_time=2500), MERGE], [table(8, "words")])


def test_the_first_read_is_no_gap() -> None:
    assert not gap([file(1, "a", TO_DELETE, updated_time=2500), MERGE], before=None)


def test_rows_removed_long_after_they_were_superseded_are_no_gap() -> None:
    assert not gap([MERGE])
