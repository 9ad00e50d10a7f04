from __future__ import annotations

import pytest

from mishards.catalog.deletes import has_deletes, in_compaction
from mishards.catalog.records import FileRecord, FileType, TableRecord
from mishards.catalog.snapshot import Collection, Snapshot, assemble

ROW_BYTES = 16 * 4 + 8


def table(name: str = "words", metric: int = 1) -> TableRecord:
    return TableRecord(
        id=1 if name == "words" else 2,
        table_id=name,
        state=0,
        dimension=16,
        created_on=1000,
        flag=0,
        index_file_size=1 << 30,
        engine_type=1,
        index_params="{}",
        metric_type=metric,
        owner_table="",
        partition_tag="",
        version="1.0.0",
        flush_lsn=0,
    )


def file(
    id: int, segment: str, rows: int, *, written: int = 0, kind: int = FileType.RAW, of: str = "words"
) -> FileRecord:
    """A file of a segment that was written with ``written`` rows, of which ``rows`` are left."""
    return FileRecord(
        id=id,
        table_id=of,
        segment_id=segment,
        engine_type=1,
        file_id=f"{segment}{id}",
        file_type=kind,
        file_size=(written or rows) * ROW_BYTES,
        row_count=rows,
        updated_time=1000,
        created_on=1000,
        date=1_261_022,
        flush_lsn=0,
    )


def collections(*files: FileRecord) -> dict[str, Collection]:
    return assemble([table(), table("others")], files)


def between(before: list[FileRecord], now: list[FileRecord]) -> bool:
    return in_compaction(Snapshot(1, 0.0, collections(*before)), collections(*now))


OLD, NEW = file(1, "old", 20, written=30), file(2, "new", 20)


def test_a_compacted_segment_beside_the_one_it_was_made_from_is_no_state_to_show() -> None:
    assert between([OLD], [OLD, NEW])


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ([OLD], [OLD]),
        ([OLD], [NEW]),
        ([], [OLD, NEW]),
        ([OLD, NEW], [OLD, NEW]),
        ([OLD], [OLD, file(2, "new", 21)]),
        ([OLD], [OLD, file(2, "new", 20, of="others")]),
        ([file(1, "old", 20)], [file(1, "old", 20), NEW]),
    ],
    ids=["unchanged", "over", "nothing before", "both known", "other rows", "other collection", "no deletes"],
)
def test_what_is_no_compaction_is_shown_at_once(before: list[FileRecord], now: list[FileRecord]) -> None:
    assert not between(before, now)


def test_the_first_read_has_nothing_to_compare_with() -> None:
    assert not in_compaction(None, collections(OLD, NEW))


def test_an_indexed_segment_tells_by_its_raw_file_and_without_one_counts_as_deleted_from() -> None:
    index = file(5, "old", 20, kind=FileType.INDEX)
    for files, expected in (
        ([index, file(1, "old", 20, written=30, kind=FileType.BACKUP)], True),
        ([index, file(1, "old", 20, kind=FileType.BACKUP)], False),
        ([index], True),
    ):
        collection = collections(*files)["words"]
        assert has_deletes(collection, collection.segments[0]) is expected
