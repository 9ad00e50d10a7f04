from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from mishards.catalog.definitions import DefinitionWriter
from mishards.catalog.engine import open_engine
from mishards.catalog.files import FileWriter, NewFile
from mishards.catalog.reader import CatalogReader
from mishards.catalog.records import FileType
from mishards.catalog.transaction import WritableCatalog
from mishards.errors import CatalogError, CatalogSchemaMismatch, CatalogUnavailable
from mishards.kinds import IndexType, MetricType


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "meta.sqlite"


@pytest.fixture
def reader(path: Path) -> Iterator[CatalogReader]:
    found = CatalogReader(open_engine(f"sqlite:///{path}"))
    yield found
    found.close()


@pytest.fixture
def writable(path: Path) -> Iterator[WritableCatalog]:
    engine = open_engine(f"sqlite:///{path}")
    found = WritableCatalog(engine)
    found.initialise()
    yield found
    engine.dispose()


def create(writable: WritableCatalog, name: str = "words") -> None:
    DefinitionWriter(writable).create_collection(name, 128, 1 << 30, MetricType.L2)


def flush(writable: WritableCatalog, segment_id: str, lsn: int) -> None:
    new = NewFile("words", segment_id, segment_id, FileType.RAW, IndexType.FLAT, 100, 10)
    FileWriter(writable).flush([new], [], lsn, ["words"])


def run(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


# --- versions --------------------------------------------------------------------------------------------------------


def test_the_version_rises_when_something_changed_and_only_then(
    reader: CatalogReader, writable: WritableCatalog
) -> None:
    first = reader.read(None)
    again = reader.read(first)
    assert again.version == first.version
    assert again.taken_at > first.taken_at
    assert again.collections is first.collections
    create(writable)
    changed = reader.read(again)
    assert changed.version == first.version + 1
    assert list(changed.collections) == ["words"]


def test_the_writers_own_count_rises_with_every_change(reader: CatalogReader, writable: WritableCatalog) -> None:
    first = reader.read(None)
    create(writable)
    second = reader.read(first)
    FileWriter(writable).record_all_flushed(5)  # nothing that a snapshot shows
    third = reader.read(second)
    assert first.revision < second.revision < third.revision
    assert third.version == second.version


def test_a_database_without_that_count_is_read_all_the_same(
    reader: CatalogReader, writable: WritableCatalog, path: Path
) -> None:
    create(writable)
    run(path, "DROP TABLE mishards_writer")
    snapshot = reader.read(None)
    assert (snapshot.revision, list(snapshot.collections)) == (0, ["words"])


# --- what is not there -----------------------------------------------------------------------------------------------


def test_a_database_that_nobody_has_made_is_empty_and_stays_unmade(reader: CatalogReader, path: Path) -> None:
    assert reader.read(None).collections == {}
    assert not path.exists()


def test_a_database_without_tables_is_empty(reader: CatalogReader, path: Path) -> None:
    path.touch()
    assert reader.read(None).collections == {}
    run(path, "CREATE TABLE Tables (id INTEGER)")  # half way through its making
    assert reader.read(None).collections == {}


def test_tables_that_were_there_and_are_gone_are_an_error(
    reader: CatalogReader, writable: WritableCatalog, path: Path
) -> None:
    create(writable)
    snapshot = reader.read(None)
    run(path, "DROP TABLE TableFiles")
    with pytest.raises(CatalogUnavailable, match="the tables are gone"):
        reader.read(snapshot)
    reader._engine.dispose()
    path.rename(path.with_name("elsewhere"))  # as when a mount is lost
    with pytest.raises(CatalogUnavailable, match="the tables are gone"):
        reader.read(snapshot)


# --- databases that others made --------------------------------------------------------------------------------------


def test_a_missing_column_is_named_by_reader_and_writer(
    reader: CatalogReader, writable: WritableCatalog, path: Path
) -> None:
    run(
        path,
        "ALTER TABLE Tables DROP COLUMN flush_lsn",
        "ALTER TABLE TableFiles DROP COLUMN date",
        "ALTER TABLE Fields DROP COLUMN field_params",
    )
    for use in (lambda: reader.read(None), writable.initialise):
        with pytest.raises(CatalogSchemaMismatch) as caught:
            use()
        for column in ("Tables.flush_lsn", "TableFiles.date", "Fields.field_params"):
            assert column in str(caught.value)


def test_more_columns_and_indexes_are_welcome(reader: CatalogReader, writable: WritableCatalog, path: Path) -> None:
    create(writable)
    run(
        path,
        "ALTER TABLE Tables ADD COLUMN note TEXT DEFAULT ''",
        "ALTER TABLE TableFiles ADD COLUMN note INTEGER",
        "CREATE INDEX by_table ON TableFiles (table_id, file_type)",
    )
    writable.initialise()
    flush(writable, "1", 1)
    assert [segment.segment_id for segment in reader.read(None).collection("words").segments] == ["1"]


# --- consistency -----------------------------------------------------------------------------------------------------


def test_both_tables_are_read_as_of_one_moment(reader: CatalogReader, writable: WritableCatalog) -> None:
    create(writable)
    flush(writable, "1", 1)

    def drop_in_between(_: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if "TableFiles" in statement and not dropped:
            dropped.append(True)
            DefinitionWriter(writable).drop(["words"])

    dropped: list[bool] = []
    event.listen(reader._engine, "before_cursor_execute", drop_in_between)
    snapshot = reader.read(None)
    assert dropped
    assert len(snapshot.collection("words").segments) == 1
    assert reader.read(snapshot).collections == {}


class MilvusMerge:
    """A merge as a Milvus server does it: one statement after the other, each committed by itself."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def announce(self) -> None:
        self._run(
            "INSERT INTO TableFiles (table_id, segment_id, file_id, file_type, row_count, updated_time, created_on)"
            " VALUES ('words', 'm', 'm', 5, 20, 2000000000000000, 2000000000000000)"
        )

    def retire(self, segment_id: str) -> None:
        self._run(
            "UPDATE TableFiles SET file_type = 4, updated_time = 2000000000000005 WHERE segment_id = ?", segment_id
        )

    def show(self) -> None:
        self._run("UPDATE TableFiles SET file_type = 1, updated_time = 2000000000000006 WHERE segment_id = 'm'")

    def _run(self, statement: str, *values: str) -> None:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            connection.execute(statement, values)


def segments(snapshot: Any) -> list[str]:
    return [segment.segment_id for segment in snapshot.collection("words").segments]


def test_a_read_inside_a_merge_waits_for_its_end(
    reader: CatalogReader, writable: WritableCatalog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(writable)
    flush(writable, "1", 1)
    flush(writable, "2", 2)
    before = reader.read(None)
    flush(writable, "3", 3)
    merge = MilvusMerge(path)
    merge.announce()
    merge.retire("1")
    steps = iter([lambda: merge.retire("2"), merge.show])

    def go_on(_: float) -> bool:
        next(steps, lambda: None)()
        return False

    monkeypatch.setattr("mishards.catalog.reader._GAP_WAIT_S", 60.0)
    monkeypatch.setattr(reader._closed, "wait", go_on)
    assert segments(reader.read(before)) == ["3", "m"]


def test_a_collection_whose_merge_does_not_end_stays_as_it_was_for_a_while_and_no_other_waits_for_it(
    reader: CatalogReader, writable: WritableCatalog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(writable)
    flush(writable, "1", 1)
    flush(writable, "2", 2)
    before = reader.read(None)
    merge = MilvusMerge(path)
    merge.announce()
    merge.retire("1")
    waits: list[float] = []
    monkeypatch.setattr("mishards.catalog.reader._GAP_WAIT_S", 0.05)
    monkeypatch.setattr(reader._closed, "wait", lambda seconds: waits.append(seconds))
    stuck = reader.read(before)
    assert segments(stuck) == ["1", "2"]
    assert waits
    waits.clear()
    assert reader.read(stuck).version == stuck.version
    DefinitionWriter(writable).create_collection("other", 4, 1 << 30, MetricType.L2)
    newer = reader.read(stuck)
    assert (segments(newer), "other" in newer.collections) == (["1", "2"], True)
    assert not waits
    monkeypatch.setattr("mishards.catalog.reader._GAP_KEPT_S", 0.0)
    late = reader.read(newer)
    assert segments(late) == ["2"]
    assert late.version > newer.version
    assert reader.read(late).version == late.version


def test_a_merge_that_ends_at_last_is_shown_at_once(
    reader: CatalogReader, writable: WritableCatalog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(writable)
    flush(writable, "1", 1)
    before = reader.read(None)
    merge = MilvusMerge(path)
    merge.announce()
    merge.retire("1")
    monkeypatch.setattr("mishards.catalog.reader._GAP_WAIT_S", 0.0)
    stuck = reader.read(before)
    assert segments(stuck) == ["1"]
    merge.show()
    assert segments(reader.read(stuck)) == ["m"]


def test_closing_ends_the_wait_for_a_merge(
    reader: CatalogReader, writable: WritableCatalog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(writable)
    flush(writable, "1", 1)
    before = reader.read(None)
    merge = MilvusMerge(path)
    merge.announce()
    merge.retire("1")
    monkeypatch.setattr("mishards.catalog.reader._GAP_PAUSE_S", 3600.0)
    answers: list[Any] = []

    def read() -> None:
        try:
            answers.append(reader.read(before))
        except CatalogError as error:
            answers.append(error)

    reading = threading.Thread(target=read)
    reading.start()
    reader._closed.set()
    reading.join(20)
    assert not reading.is_alive()
    assert answers
