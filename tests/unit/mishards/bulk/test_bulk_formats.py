"""Every format: what is written is what is read, cut into blocks anyhow, and what is bad is named."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mishards.bulk.sink_formats import open_sink
from mishards.bulk.sources import extra
from mishards.bulk.sources.api import Block, ReadOptions
from mishards.bulk.sources.opening import open_source
from mishards.errors import SourceError

h5py = pytest.importorskip("h5py")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

IDS = {".npy": "", ".fvecs": "", ".bvecs": "", ".npz": "ids", ".hdf5": "ids", ".h5": "ids"}
"""What the ids are called by format; empty is a file of their own, and the others call them ``id``."""
FLOATS = [".npy", ".npz", ".fvecs", ".hdf5", ".h5", ".parquet", ".csv", ".tsv", ".jsonl", ".ndjson"]
BYTES = [".npy", ".npz", ".bvecs", ".hdf5", ".parquet", ".csv", ".jsonl"]


def ids_of(path: Path) -> str:
    return IDS.get(path.suffix, "id") or str(path.with_name(f"{path.stem}.ids.npy"))


def write(path: Path, ids: Any, vectors: Any, pieces: int = 2) -> None:
    sink = open_sink(path, vectors.shape[1], binary=vectors.dtype == np.uint8)
    for some_ids, some in zip(np.array_split(ids, pieces), np.array_split(vectors, pieces), strict=True):
        sink.write(some_ids, some)
    sink.finish()
    sink.abandon()  # does nothing now


def read(path: Path, rows: int = 4, skip: int = 0, **options: Any) -> list[Block]:
    return list(open_source(path, ReadOptions(**options)).blocks(rows, skip))


def bad(blocks: list[Block]) -> dict[int, str]:
    return {row.position: row.reason for block in blocks for row in block.bad}


def positions(blocks: list[Block]) -> list[int]:
    return [position for block in blocks for position in block.positions.tolist()]


@pytest.mark.parametrize("ending", FLOATS)
@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 7), st.integers(0, 3), st.integers(0, 2**32))
def test_floats_come_back_as_they_were(ending: str, rows: int, width: int, block: int, skip: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = (random.normal(size=(rows, width)) * 10.0 ** random.integers(-30, 30, (rows, width))).astype(np.float32)
    ids = random.integers(0, 2**63 - 1, rows, endpoint=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{ending}"
        write(path, ids, vectors)
        blocks = read(path, block, skip, ids=ids_of(path))
    first = min(skip * block, rows)
    assert np.concatenate([np.empty((0, width), np.float32), *(b.vectors for b in blocks)]).tolist() == (
        vectors[first:].tolist()
    )
    assert [row_id for b in blocks if b.ids is not None for row_id in b.ids.tolist()] == ids[first:].tolist()
    assert positions(blocks) == list(range(first, rows))
    assert [(b.first, b.span) for b in blocks] == [(at, min(block, rows - at)) for at in range(first, rows, block)]


@pytest.mark.parametrize("ending", BYTES)
def test_bytes_come_back_as_they_were(ending: str, tmp_path: Path) -> None:
    vectors = np.random.default_rng(3).integers(0, 256, (11, 3)).astype(np.uint8)
    path = tmp_path / f"x{ending}"
    write(path, np.arange(11), vectors)
    blocks = read(path, binary=True, width=3, ids=ids_of(path))
    assert np.concatenate([block.vectors for block in blocks]).tolist() == vectors.tolist()
    assert {block.vectors.dtype for block in blocks} == {np.dtype(np.uint8)}


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    for ending in FLOATS:
        sink = open_sink(tmp_path / f"x{ending}", 2, binary=False)
        sink.write(np.arange(1), np.ones((1, 2), np.float32))
        sink.abandon()
    assert list(tmp_path.iterdir()) == []


def test_numbers_of_other_types_are_read_as_floats(tmp_path: Path) -> None:
    for dtype in (np.float16, np.float64, np.int8, np.uint64):
        np.save(tmp_path / "x.npy", np.array([[1, 2], [3, 4]], dtype))
        (block,) = read(tmp_path / "x.npy")
        assert (block.vectors.dtype, block.vectors.tolist()) == (np.float32, [[1, 2], [3, 4]])


def test_an_array_stored_by_columns_is_read_by_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.asfortranarray(np.arange(12.0).reshape(6, 2)))
    assert (
        np.concatenate([b.vectors for b in read(tmp_path / "x.npy")]).tolist() == np.arange(12).reshape(6, 2).tolist()
    )


def test_bits_become_bytes_eight_a_byte(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (5, 16)).astype(bool)
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["train"] = bits
    source = open_source(tmp_path / "x.hdf5", ReadOptions(binary=True, width=2))
    assert source.width == 2
    assert np.concatenate([b.vectors for b in source.blocks(3)]).tolist() == np.packbits(bits, axis=1).tolist()


def test_values_that_are_not_finite_and_ids_out_of_range_are_named(tmp_path: Path) -> None:
    vectors = np.ones((6, 2), np.float64)
    vectors[1, 0], vectors[2, 1], vectors[4, 0] = np.nan, 1e300, -np.inf
    np.savez(tmp_path / "x.npz", vectors=vectors, ids=np.array([0, 1, 2, -3, 4, 5]))
    np.savez(tmp_path / "y.npz", vectors=vectors, ids=np.array([0, 1, 2, 2**63, 4, 5], np.uint64))
    for name in ("x.npz", "y.npz"):
        blocks = read(tmp_path / name, ids="ids")
        assert sorted(bad(blocks)) == [1, 2, 3, 4]
        assert positions(blocks) == [0, 5]
        assert "id" in bad(blocks)[3]
        assert "NaN" in bad(blocks)[1]


def test_rows_of_another_length_in_fvecs_are_named_and_passed(tmp_path: Path) -> None:
    def row(*values: float) -> bytes:
        return np.int32(len(values)).tobytes() + np.array(values, "<f4").tobytes()

    path = tmp_path / "x.fvecs"
    path.write_bytes(row(1, 1) + row(2, 2, 2) + row(3, 3) + row(4) + row(5, 5) + row(6, 6) + row(7, 7)[:-1])
    for block in (1, 2, 3, 100):
        blocks = read(path, block)
        assert positions(blocks) == [0, 2, 4, 5]
        assert np.concatenate([b.vectors for b in blocks]).tolist() == [[1, 1], [3, 3], [5, 5], [6, 6]]
        assert {at: reason[:14] for at, reason in bad(blocks).items()} == {
            1: "it has 3 value",
            3: "it has 1 value",
            6: "the file ends ",
        }
        assert sum(b.span for b in blocks) == 7
    path.write_bytes(row(1, 1) + row(2, 2) + np.int32(-5).tobytes() + bytes(100))
    with pytest.raises(SourceError, match="row 2 says that it has -5 values"):
        read(path)


def test_a_bad_row_in_fvecs_takes_its_id_with_it(tmp_path: Path) -> None:
    path = tmp_path / "x.fvecs"
    rows = [np.int32(2).tobytes() + np.array(pair, "<f4").tobytes() for pair in ((1, 1), (2, np.nan), (3, 3))]
    path.write_bytes(rows[0] + np.int32(1).tobytes() + bytes(4) + rows[1] + rows[2])
    np.save(tmp_path / "i.npy", np.array([10, 11, 12, 13]))
    (block,) = read(path, ids=str(tmp_path / "i.npy"))
    assert block.ids is not None
    assert (block.ids.tolist(), block.positions.tolist(), sorted(bad([block]))) == ([10, 13], [0, 3], [1, 2])


def test_bad_lines_of_csv_and_json_are_named_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,a,b\n1,1,1\n\n2,2\n3,x,3\n-4,4,4\nfive,5,5\n6,6,inf\n7,7,7\n", encoding="utf-8")
    blocks = read(tmp_path / "x.csv", 3, ids="id")
    assert positions(blocks) == [0, 6]
    assert sorted(bad(blocks)) == [1, 2, 3, 4, 5]
    assert bad(blocks)[1].startswith("line 4: it has 1 values, expected 2")
    lines = ['{"id": 1, "vector": [1, 1]}', "", "[2, 2]", "{", '{"id": 3}', '{"id": 4, "vector": 4}']
    lines += [
        '{"id": 5, "vector": [5, null]}',
        "[" * 100_000,
        '{"id": "7", "vector": [7, 7]}',
        '{"id": true, "vector": [8, 8]}',
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(lines), encoding="utf-8")
    blocks = read(tmp_path / "x.jsonl", 4, ids="id")
    assert positions(blocks) == [0, 7]
    assert bad(blocks)[2].startswith("line 4: ")
    assert len(read(tmp_path / "x.jsonl", 4)[0].positions) == 2, "without ids, a bare array is a row"


def test_columns_of_csv_without_names_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1,0.5,7\n2,0.25,8\n", encoding="utf-8")
    (block,) = read(tmp_path / "x.csv", ids="3")
    assert block.ids is not None
    assert (block.ids.tolist(), block.vectors.tolist()) == ([7, 8], [[1, 0.5], [2, 0.25]])
    for wrong in ("id", "0"):
        with pytest.raises(SourceError, match="has no column"):
            read(tmp_path / "x.csv", ids=wrong)
    (tmp_path / "x.csv").write_text("1,0.5,7\n2\n", encoding="utf-8")
    assert "none for the id" in bad(read(tmp_path / "x.csv", ids="3"))[1]


def test_values_that_are_no_bytes_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("[0, 255]\n[256, 0]\n[-1, 0]\n[0.5, 1]\n", encoding="utf-8")
    assert sorted(bad(read(tmp_path / "x.jsonl", binary=True))) == [1, 2]


def test_ragged_and_missing_rows_of_parquet_are_named(tmp_path: Path) -> None:
    rows = pa.table({"id": pa.array([1, 2, None, 4, 5]), "v": [[1.0, 1.0], [2.0], [3.0, 3.0], None, [5.0, None]]})
    pq.write_table(rows, tmp_path / "x.parquet", row_group_size=2)
    blocks = read(tmp_path / "x.parquet", 3, ids="id")
    assert (positions(blocks), sorted(bad(blocks))) == ([0], [1, 2, 3, 4])
    assert sorted(bad(read(tmp_path / "x.parquet", 3))) == [1, 3, 4]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("x.txt", {}, "has the ending '.txt'"),
        ("flat.npy", {}, "has 1 dimensions"),
        ("words.npy", {}, "has elements of type"),
        ("good.npy", {"width": 3}, "has rows of 2 values, the collection takes 3"),
        ("good.npy", {"binary": True}, "expected uint8 or bool"),
        ("good.npy", {"ids": "flat.npy"}, "expected 4 integers"),
        ("torn.npy", {}, "is no .npy of numbers, or is cut short"),
        ("two.npz", {}, "has 2 arrays of two dimensions"),
        ("two.npz", {"vectors": "c"}, "has no array 'c'; it has a, b"),
        ("torn.npz", {}, "is no .npz"),
        ("columns.npz", {}, "stored by columns"),
        ("x.hdf5", {"vectors": "test"}, "has no dataset 'test'; it has train"),
        ("torn.hdf5", {}, "is no HDF5 file"),
        ("x.parquet", {}, "has 2 columns that could be vectors"),
        ("x.parquet", {"vectors": "c"}, "has no column 'c'"),
        ("torn.parquet", {}, "is no Parquet file"),
        ("empty.csv", {}, "has no row that could be a vector"),
        ("empty.fvecs", {}, "is damaged"),
    ],
)
def test_a_file_that_cannot_be_is_refused_with_a_reason(
    name: str, options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = np.arange(8.0).reshape(4, 2)
    np.save("flat.npy", np.arange(3))
    np.save("words.npy", np.array([["a", "b"]]))
    np.save("good.npy", table)
    np.savez("two.npz", a=table, b=table)
    np.savez("columns.npz", a=np.asfortranarray(table))
    with h5py.File("x.hdf5", "w") as file:
        file["train"] = table
    pq.write_table(pa.table({"a": table.tolist(), "b": table.tolist()}), "x.parquet")
    for torn in ("torn.npy", "torn.npz", "torn.hdf5", "torn.parquet"):
        Path(torn).write_bytes(Path("good.npy").read_bytes()[:-3])
    for empty in ("empty.csv", "empty.fvecs", "x.txt"):
        Path(empty).touch()
    with pytest.raises(SourceError, match=message.replace(".", r"\.")):
        read(Path(name), **options)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(extra.importlib, "import_module", missing)
    with pytest.raises(SourceError, match=r"needs pyarrow, which is not installed: pip install 'mishards\[import\]'"):
        extra.needed("pyarrow.parquet")


def test_damage_inside_an_archive_is_an_error_and_no_wrong_row(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, vectors=np.ones((1000, 4), np.float32), ids=np.arange(1000))
    content = bytearray(path.read_bytes())
    content[4000] ^= 1
    path.write_bytes(content)
    with pytest.raises(SourceError, match="is damaged"):
        read(path, 1000, ids="ids")


def test_vecs_of_the_wrong_kind_are_not_written(tmp_path: Path) -> None:
    for name, binary in (("x.fvecs", True), ("x.bvecs", False), ("x.ivecs", False)):
        with pytest.raises(SourceError):
            open_sink(tmp_path / name, 2, binary=binary)


def test_lines_written_are_json(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", np.array([7]), np.array([[0.1, -0.5]], np.float32), 1)
    assert json.loads((tmp_path / "x.jsonl").read_text()) == {"id": 7, "vector": [0.100000001, -0.5]}
