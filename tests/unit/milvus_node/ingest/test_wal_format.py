from __future__ import annotations

import secrets
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from milvus_node.ingest import wal_format
from milvus_node.ingest.wal import DeleteRecord, InsertRecord, Record, WriteAheadLog
from milvus_node.ingest.wal_format import FileHeader, RecordHeader

GOLDEN = bytes.fromhex((Path(__file__).parents[3] / "golden" / "storage" / "1.wal.hex").read_text())
INSERT = InsertRecord("words", np.array([11, -12]), np.arange(6, dtype=np.uint8).reshape(2, 3), ids_generated=True)
DELETE = DeleteRecord(("words", "1795311038198151000"), np.array([11]))

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
IDS = arrays.arrays(np.int64, st.integers(0, 30))
INSERTS = IDS.flatmap(
    lambda ids: st.builds(
        InsertRecord,
        NAMES,
        st.just(ids),
        arrays.arrays(np.uint8, st.tuples(st.just(len(ids)), st.integers(1, 20))),
        st.booleans(),
    )
)
DELETES = st.builds(DeleteRecord, st.lists(NAMES, max_size=5).map(tuple), IDS)


def assert_same(found: Record, expected: Record) -> None:
    assert type(found) is type(expected)
    np.testing.assert_array_equal(found.ids, expected.ids)
    if isinstance(found, InsertRecord) and isinstance(expected, InsertRecord):
        assert (found.table_id, found.ids_generated) == (expected.table_id, expected.ids_generated)
        np.testing.assert_array_equal(found.vectors, expected.vectors)
        assert found.vectors.shape == expected.vectors.shape
    elif isinstance(found, DeleteRecord) and isinstance(expected, DeleteRecord):
        assert found.table_ids == expected.table_ids


def test_a_log_is_the_golden_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_bytes", lambda size: bytes(range(1, size + 1)))
    log = WriteAheadLog.open(tmp_path)
    assert list(log.replay()) == []
    assert log.append(INSERT).result(10) == 1 << 32 | 0x6E
    assert log.append(DELETE).result(10) == 1 << 32 | len(GOLDEN)
    log.close()
    assert (tmp_path / "1.wal").read_bytes() == GOLDEN


def test_golden_bytes_are_replayed(tmp_path: Path) -> None:
    (tmp_path / "1.wal").write_bytes(GOLDEN)
    log = WriteAheadLog.open(tmp_path)
    (first_lsn, first), (second_lsn, second) = log.replay()
    log.close()
    assert (first_lsn, second_lsn) == (1 << 32 | 0x6E, 1 << 32 | len(GOLDEN))
    assert_same(first, INSERT)
    assert_same(second, DELETE)


@given(st.lists(st.one_of(INSERTS, DELETES), max_size=6))
def test_what_is_appended_is_replayed(tmp_path_factory: pytest.TempPathFactory, records: list[Record]) -> None:
    folder = tmp_path_factory.mktemp("wal")
    log = WriteAheadLog.open(folder)
    assert list(log.replay()) == []
    futures = [log.append(record) for record in records]
    log.close()
    lsns = [future.result(0) for future in futures]
    assert lsns == sorted(set(lsns))
    again = WriteAheadLog.open(folder)
    replayed = list(again.replay())
    again.close()
    assert [lsn for lsn, _ in replayed] == lsns
    for (_, found), expected in zip(replayed, records, strict=True):
        assert_same(found, expected)


def test_contiguous_vectors_are_not_copied() -> None:
    ids = np.arange(1000)
    vectors = np.zeros((1000, 512), np.uint8)
    *_, encoded_ids, encoded_vectors = wal_format.encode(InsertRecord("words", ids, vectors, False)).payload
    assert np.shares_memory(np.frombuffer(encoded_ids, np.uint8), ids)
    assert np.shares_memory(np.frombuffer(encoded_vectors, np.uint8), vectors)


@pytest.mark.parametrize(
    ("ids", "vectors"),
    [
        (np.arange(2), np.zeros((3, 4), np.uint8)),
        (np.arange(2), np.zeros(2, np.uint8)),
        (np.arange(2), np.zeros((2, 4), np.float32)),
        (np.arange(2, dtype=np.int32), np.zeros((2, 4), np.uint8)),
        (np.arange(2).reshape(2, 1), np.zeros((2, 4), np.uint8)),
    ],
)
def test_arrays_that_are_no_record_are_refused(ids: npt.NDArray[np.int64], vectors: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="expected"):
        wal_format.encode(InsertRecord("words", ids, vectors, False))


def test_any_changed_bit_of_a_file_header_is_noticed() -> None:
    header = FileHeader(7, b"salt", 3 << 32 | 99).pack()
    assert FileHeader.parse(header) == FileHeader(7, b"salt", 3 << 32 | 99)
    for bit in range(8 * len(header)):
        changed = (int.from_bytes(header, "little") ^ 1 << bit).to_bytes(len(header), "little")
        with pytest.raises(ValueError, match=r"it does not begin|checksum of its header"):
            FileHeader.parse(changed)


def test_a_header_of_a_later_version_is_named() -> None:
    newer = GOLDEN[:8] + b"\2" + GOLDEN[9:28]
    with pytest.raises(ValueError, match="version 2, this program reads version 1"):
        FileHeader.parse(newer + zlib.crc32(newer).to_bytes(4, "little"))


def test_a_record_header_belongs_to_one_place() -> None:
    header = GOLDEN[32:64]
    assert RecordHeader.parse(header, 1, 32) == RecordHeader(1, 1, 1 << 32 | 0x6E, 46, 32)
    assert RecordHeader.parse(header, 2, 32) is None
    assert RecordHeader.parse(header, 1, 33) is None
    assert RecordHeader.parse(header[:31], 1, 32) is None


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        (RecordHeader(1, 0, 0, 0, 0), b""),
        (RecordHeader(1, 0, 0, 0, 0), bytes.fromhex("01000000 00000000 0000 000000000000")),
        (RecordHeader(3, 0, 0, 0, 0), bytes.fromhex("00000000 00000000 0100 0100 61 000000")),
        (RecordHeader(1, 0, 0, 0, 0), bytes.fromhex("00000000 00000000 0000 000000000000")),
        (RecordHeader(2, 0, 0, 0, 0), bytes.fromhex("00000000 01000000 0000 000000000000")),
    ],
)
def test_parts_that_do_not_add_up_are_no_record(header: RecordHeader, payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"^a (payload|record) of"):
        wal_format.decode(header, np.frombuffer(payload, np.uint8))
