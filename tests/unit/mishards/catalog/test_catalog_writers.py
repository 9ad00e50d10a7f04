from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import select

from harness.catalog import Catalog, raw_file
from mishards.catalog.files import Deletion, Expected, NewFile
from mishards.catalog.records import FileRecord, FileType, IdMode
from mishards.catalog.snapshot import Segment
from mishards.catalog.tables import environment, table_files
from mishards.errors import CatalogConflict, CollectionExists
from mishards.kinds import IndexType, MetricType

START_US = 1_795_311_037_998_941  # 22 November 2026


class ClockedCatalog(Catalog):
    """A SQLite catalog whose clock stands still until it is told otherwise."""

    def __init__(self, folder: Path) -> None:
        self.now_us = START_US
        super().__init__(f"sqlite:///{folder / 'meta.sqlite'}", lambda: self.now_us)
        self.writable.initialise()

    def rows(self) -> list[FileRecord]:
        with self.engine.connect() as connection:
            return [FileRecord(*row) for row in connection.execute(select(table_files).order_by(table_files.c.id))]

    def segment(self, segment_id: str) -> Segment:
        return next(s for s in self.collection().segments if s.segment_id == segment_id)

    def index(self, segment_id: str, file_id: str) -> None:
        self.files.mark_to_index([self.segment(segment_id).file.id])
        self.files.index_built(Expected.of(self.segment(segment_id).file), index_file(segment_id, file_id))

    def kinds(self) -> dict[str, FileType]:
        return {row.file_id: FileType(row.file_type) for row in self.rows()}


def index_file(segment_id: str, file_id: str) -> NewFile:
    return NewFile("words", segment_id, file_id, FileType.INDEX, IndexType.IVF_FLAT, 999, 10)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[ClockedCatalog]:
    found = ClockedCatalog(tmp_path)
    found.create()
    yield found
    found.close()


# --- definitions -----------------------------------------------------------------------------------------------------


def test_a_collection_is_recorded_as_milvus_records_it(catalog: ClockedCatalog) -> None:
    catalog.definitions.create_collection("bits", 64, 5 << 20, MetricType.JACCARD, flush_lsn=7)
    table = catalog.collection("bits").table
    assert (table.dimension, table.index_file_size, table.metric_type) == (64, 5 << 20, 4)
    assert (table.engine_type, table.index_params, table.flag, table.state) == (9, "{}", 0, 0)
    assert (table.owner_table, table.partition_tag, table.flush_lsn) == ("", "", 7)
    assert table.created_on == START_US
    assert catalog.collection().table.engine_type == 1


def test_a_partition_is_a_copy_of_its_owner_under_another_name(catalog: ClockedCatalog) -> None:
    catalog.definitions.set_index(["words"], IndexType.HNSW, '{"M":16}')
    catalog.definitions.set_id_mode("words", IdMode.USER)
    owner = catalog.collection().table
    catalog.definitions.create_partition(owner, "123", "p")
    partition = catalog.collection().partition("p")
    assert partition is not None
    table = partition.table
    assert (table.table_id, table.owner_table, table.partition_tag, table.flag) == ("123", "words", "p", 0)
    same = ("dimension", "index_file_size", "metric_type", "engine_type", "index_params", "version")
    assert [getattr(table, name) for name in same] == [getattr(owner, name) for name in same]


def test_a_name_is_given_once_be_it_a_collection_or_a_partition(catalog: ClockedCatalog) -> None:
    catalog.definitions.create_partition(catalog.collection().table, "p1", "p")
    for name in ("words", "p1"):
        with pytest.raises(CollectionExists):
            catalog.create(name)
    assert catalog.collection().partition_tags == ("_default", "p")


def test_the_row_of_a_dropped_collection_never_comes_back_under_its_id(catalog: ClockedCatalog) -> None:
    catalog.flush("1")
    before = catalog.collection().table.id, catalog.segment("1").file.id
    catalog.definitions.drop(["words"])
    catalog.files.forget(catalog.files.retired(0))
    catalog.create()
    catalog.flush("2")
    assert catalog.collection().table.id > before[0]
    assert catalog.segment("2").file.id > before[1]


def test_an_id_mode_is_fixed_once(catalog: ClockedCatalog) -> None:
    catalog.definitions.set_id_mode("words", IdMode.USER)
    catalog.definitions.set_id_mode("words", IdMode.USER)
    with pytest.raises(CatalogConflict):
        catalog.definitions.set_id_mode("words", IdMode.GENERATED)
    with pytest.raises(CatalogConflict):
        catalog.definitions.set_id_mode("gone", IdMode.USER)
    assert catalog.collection().id_mode is IdMode.USER


def test_dropping_an_index_brings_raw_files_back_in_the_same_step(catalog: ClockedCatalog) -> None:
    catalog.flush("1", "2")
    catalog.index("1", "11")
    catalog.files.mark_to_index([catalog.segment("2").file.id])
    catalog.definitions.set_index(["words"], IndexType.IVF_FLAT, '{"nlist":64}')
    catalog.definitions.drop_index(["words"], IndexType.FLAT)
    assert catalog.kinds() == {"1": FileType.RAW, "11": FileType.TO_DELETE, "2": FileType.RAW}
    assert (catalog.collection().index_type, catalog.collection().index_params) == (IndexType.FLAT, "{}")


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_flush_shows_segments_deletes_and_position_together(catalog: ClockedCatalog) -> None:
    catalog.definitions.create_partition(catalog.collection().table, "123", "p")
    catalog.flush("1")
    catalog.index("1", "11")
    catalog.now_us += 5
    catalog.files.flush([raw_file("2", "123")], [Deletion("words", "1", 7)], 50, ["words", "123"])
    assert [partition.table.flush_lsn for partition in catalog.collection().partitions] == [50, 50]
    assert {row.file_id: (row.row_count, row.updated_time) for row in catalog.rows()} == {
        "1": (7, START_US + 5),
        "11": (7, START_US + 5),
        "2": (10, START_US + 5),
    }


def test_a_flush_that_went_through_before_changes_nothing_more(catalog: ClockedCatalog) -> None:
    catalog.flush("1", lsn=50)
    before = catalog.rows()
    for lsn in (50, 49):
        with pytest.raises(CatalogConflict):
            catalog.flush("2", lsn=lsn, deletions=(Deletion("words", "1", 0),))
    assert catalog.rows() == before
    assert catalog.collection().table.flush_lsn == 50


def test_a_flush_of_a_dropped_collection_changes_nothing(catalog: ClockedCatalog) -> None:
    catalog.definitions.drop(["words"])
    with pytest.raises(CatalogConflict):
        catalog.files.flush([raw_file("1")], [], 50, ["words"])
    assert catalog.rows() == []


def test_the_position_of_a_partition_never_goes_back(catalog: ClockedCatalog) -> None:
    catalog.definitions.create_partition(catalog.collection().table, "123", "p")
    catalog.files.flush([], [], 50, ["words", "123"])
    catalog.definitions.drop(["words"])
    catalog.create()
    catalog.files.flush([], [], 40, ["words", "123"])
    partition = catalog.collection().partition("p")
    assert partition is not None
    assert (catalog.collection().table.flush_lsn, partition.table.flush_lsn) == (40, 50)


def test_a_merge_replaces_all_files_of_its_sources(catalog: ClockedCatalog) -> None:
    catalog.flush("1", "2", "3")
    catalog.index("1", "11")
    sources = [catalog.segment("1"), catalog.segment("2")]
    catalog.files.replace([Expected.of(s.file) for s in sources], ["1", "2"], [raw_file("4", rows=20)])
    assert [segment.segment_id for segment in catalog.collection().segments] == ["3", "4"]
    assert catalog.kinds() == dict.fromkeys(("1", "2", "11"), FileType.TO_DELETE) | dict.fromkeys("34", FileType.RAW)


@pytest.mark.parametrize("change", ["deleted", "retired", "queued"])
def test_a_merge_whose_source_changed_changes_nothing(catalog: ClockedCatalog, change: str) -> None:
    catalog.flush("1", "2")
    sources = [Expected.of(catalog.segment(name).file) for name in "12"]
    if change == "deleted":
        catalog.flush(deletions=(Deletion("words", "2", 9),))
    elif change == "retired":
        catalog.files.replace([sources[1]], ["2"], [])
    else:
        catalog.files.mark_to_index([sources[1].id])
    before = catalog.rows()
    with pytest.raises(CatalogConflict):
        catalog.files.replace(sources, ["1", "2"], [raw_file("3")])
    assert catalog.rows() == before


def test_an_index_takes_the_place_of_the_raw_file_and_of_an_older_index(catalog: ClockedCatalog) -> None:
    catalog.flush("1")
    catalog.index("1", "11")
    backup = catalog.segment("1").raw
    assert backup is not None
    catalog.files.index_built(Expected.of(backup), index_file("1", "12"))
    assert catalog.kinds() == {"1": FileType.BACKUP, "11": FileType.TO_DELETE, "12": FileType.INDEX}
    assert catalog.segment("1").file.file_id == "12"


def test_an_index_of_rows_that_were_deleted_meanwhile_changes_nothing(catalog: ClockedCatalog) -> None:
    catalog.flush("1")
    catalog.files.mark_to_index([catalog.segment("1").file.id])
    seen = Expected.of(catalog.segment("1").file)
    catalog.flush(deletions=(Deletion("words", "1", 9),))
    before = catalog.rows()
    with pytest.raises(CatalogConflict):
        catalog.files.index_built(seen, index_file("1", "11"))
    assert catalog.rows() == before


def test_only_raw_files_are_queued_for_an_index_and_their_version_stays(catalog: ClockedCatalog) -> None:
    catalog.flush("1", "2")
    catalog.index("1", "11")
    before = {row.id: row.updated_time for row in catalog.rows()}
    catalog.now_us += 5
    catalog.files.mark_to_index([row.id for row in catalog.rows()])
    assert catalog.kinds() == {"1": FileType.BACKUP, "11": FileType.INDEX, "2": FileType.TO_INDEX}
    assert {row.id: row.updated_time for row in catalog.rows()} == before


def test_retired_files_are_known_once_they_are_old_and_forgotten_by_row(catalog: ClockedCatalog) -> None:
    catalog.flush("1")
    catalog.definitions.drop(["words"])
    catalog.now_us += 10_000_001  # the drop took the next version, as the clock stood still
    assert catalog.files.retired(10.1) == []
    (found,) = catalog.files.retired(10)
    assert found.file_id == "1"
    catalog.files.forget([found])
    assert catalog.rows() == []


def test_a_file_that_is_in_use_is_not_forgotten(catalog: ClockedCatalog) -> None:
    catalog.flush("1")
    catalog.files.forget(catalog.rows())
    assert len(catalog.rows()) == 1


def test_the_date_is_written_as_milvus_writes_it(catalog: ClockedCatalog) -> None:
    catalog.flush("1")
    assert datetime.fromtimestamp(START_US / 1e6, tz=timezone.utc).date().isoformat() == "2026-11-22"
    assert catalog.rows()[0].date == 1_261_022


@given(steps=st.lists(st.sampled_from([-1_000_000, -1, 0, 1, 1000]), min_size=1, max_size=8))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_versions_rise_strictly_whatever_the_clock_does(
    steps: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    catalog = ClockedCatalog(tmp_path_factory.mktemp("clock"))
    catalog.create()
    catalog.flush("1")
    for left, step in enumerate(steps):
        catalog.now_us += step
        before = catalog.segment("1").version
        catalog.flush(deletions=(Deletion("words", "1", 10 - left),))
        assert catalog.segment("1").version > before
    catalog.close()


# --- starting --------------------------------------------------------------------------------------------------------


def test_what_a_crashed_writer_announced_is_retired_when_the_next_one_starts(catalog: ClockedCatalog) -> None:
    catalog.flush("1")
    announced = (FileType.NEW, FileType.NEW_MERGE, FileType.NEW_INDEX)
    for number, kind in enumerate(announced, start=2):
        catalog.files.flush(
            [NewFile("words", str(number), str(number), kind, IndexType.FLAT, 0, 0)], [], 10 + number, ["words"]
        )
    catalog.writable.initialise()
    assert catalog.kinds() == {"1": FileType.RAW} | dict.fromkeys("234", FileType.TO_DELETE)


def test_initialising_again_changes_nothing(catalog: ClockedCatalog) -> None:
    catalog.flush("1")
    catalog.files.record_all_flushed(9)
    before = catalog.rows(), catalog.collection()
    catalog.writable.initialise()
    with catalog.engine.connect() as connection:
        assert connection.execute(select(environment)).all() == [(9,)]
    assert (catalog.rows(), catalog.collection()) == before
