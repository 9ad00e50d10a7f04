from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvus_node.errors import IndexUnreadable, SegmentDamaged, SegmentMissing
from milvus_node.index import forest
from milvus_node.index.api import BuildParams, SearchParams, StorableIndex
from milvus_node.index.container import read
from milvus_node.index.factory import build
from milvus_node.index.file import Shape, load, save
from mishards.kinds import IndexType, MetricType

Built = Callable[[IndexType, MetricType], StorableIndex]

PARAMS = SearchParams(nprobe=8, search_k=2000)
KINDS = [
    (IndexType.IVF_FLAT, MetricType.L2),
    (IndexType.IVF_SQ8, MetricType.IP),
    (IndexType.IVF_PQ, MetricType.L2),
    (IndexType.HNSW, MetricType.IP),
    (IndexType.RNSG, MetricType.L2),
    (IndexType.ANNOY, MetricType.IP),
    (IndexType.BIN_IVF_FLAT, MetricType.JACCARD),
]
FAISS_TYPES = (IndexType.IVF_FLAT, IndexType.IVF_SQ8, IndexType.IVF_PQ, IndexType.HNSW, IndexType.RNSG)


def shape_of(index: StorableIndex) -> Shape:
    return Shape(index.metric, index.rows, index.dimension)


def queries_for(metric: MetricType, words: Any, fingerprints: Any) -> Any:
    return fingerprints.query if metric.is_binary else words.query


def parts(content: bytes) -> tuple[int, dict[str, bytes]]:
    """Take the container apart by its documented layout."""
    (index_type,), at, blobs = struct.unpack_from("<i", content), 4, {}
    while at < len(content):
        (name_length,) = struct.unpack_from("<Q", content, at)
        name = content[at + 8 : at + 8 + name_length].decode()
        at += 8 + name_length
        (length,) = struct.unpack_from("<q", content, at)
        blobs[name] = content[at + 8 : at + 8 + length]
        at += 8 + length
    assert at == len(content)
    return index_type, blobs


@pytest.mark.parametrize(("kind", "metric"), KINDS)
@pytest.mark.parametrize("rows", [None, 1, 50])
def test_an_index_answers_the_same_after_save_and_load(
    kind: IndexType, metric: MetricType, rows: int | None, built: Built, words: Any, fingerprints: Any, tmp_path: Path
) -> None:
    index, base = built(kind, metric), fingerprints.base if metric.is_binary else words.base
    if rows is not None:
        index = build(kind, metric, base[:rows], BuildParams(m=20))  # type: ignore[assignment]  # no FLAT here
    written = save(index, tmp_path / "index")
    assert written == (tmp_path / "index").stat().st_size
    loaded = load(tmp_path / "index", shape_of(index))
    assert (loaded.index_type, loaded.metric) == (kind, metric)
    assert abs(loaded.memory_bytes - index.memory_bytes) < 100
    deleted = np.random.default_rng(1).random(index.rows) < 0.3
    for mask in (None, deleted):
        before = index.search(queries_for(metric, words, fingerprints), 10, PARAMS, deleted=mask)
        after = loaded.search(queries_for(metric, words, fingerprints), 10, PARAMS, deleted=mask)
        np.testing.assert_array_equal(before.ids, after.ids)
        np.testing.assert_array_equal(before.distances, after.distances)
    save(loaded, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "index").read_bytes()


@pytest.mark.parametrize(("kind", "metric"), KINDS)
def test_the_same_input_gives_the_same_file(
    kind: IndexType, metric: MetricType, built: Built, words: Any, fingerprints: Any, tmp_path: Path
) -> None:
    base = fingerprints.base if metric.is_binary else words.base
    again = build(kind, metric, base, BuildParams(nlist=64, m=20, n_trees=12))
    save(built(kind, metric), tmp_path / "one")
    save(again, tmp_path / "two")  # type: ignore[arg-type]  # no FLAT here
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("kind", [IndexType.IVF_FLAT, IndexType.IVF_SQ8, IndexType.IVF_PQ])
def test_an_ivf_file_is_a_type_and_one_blob_named_ivf(kind: IndexType, built: Built, tmp_path: Path) -> None:
    save(built(kind, MetricType.L2), tmp_path / "index")
    number, blobs = parts((tmp_path / "index").read_bytes())
    assert number == kind
    assert list(blobs) == ["IVF"]
    assert blobs["IVF"][:2] == b"Iw"


def test_graphs_and_forests_have_names_that_a_milvus_node_does_not_take_for_its_own(
    built: Built, tmp_path: Path
) -> None:
    names = set()
    for kind in (IndexType.HNSW, IndexType.RNSG, IndexType.ANNOY):
        save(built(kind, MetricType.IP), tmp_path / "index")
        names |= set(parts((tmp_path / "index").read_bytes())[1])
    assert names == {"faiss", "annoy"}


@pytest.mark.parametrize(("kind", "metric"), KINDS)
@pytest.mark.parametrize("keep", [0, 3, 4, 7, 12, 20, 0.2, 0.7, -1])
def test_a_cut_file_is_damaged(kind: IndexType, metric: MetricType, keep: float, built: Built, tmp_path: Path) -> None:
    index, path = built(kind, metric), tmp_path / "index"
    save(index, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if 0 < keep < 1 else int(keep)])
    error = IndexUnreadable if keep == 4 else SegmentDamaged  # a type and nothing else is whole, but no index
    with pytest.raises(error, match=str(path)):
        load(path, shape_of(index))


@pytest.mark.parametrize(("kind", "metric"), KINDS)
def test_a_file_of_other_vectors_is_damaged(kind: IndexType, metric: MetricType, built: Built, tmp_path: Path) -> None:
    index, path = built(kind, metric), tmp_path / "index"
    save(index, path)
    for shape in (Shape(metric, index.rows + 1, index.dimension), Shape(metric, index.rows, index.dimension * 2)):
        with pytest.raises(SegmentDamaged):
            load(path, shape)


@pytest.mark.parametrize(("kind", "metric"), [pair for pair in KINDS if pair[0] in FAISS_TYPES])
def test_a_file_for_another_metric_is_damaged(
    kind: IndexType, metric: MetricType, built: Built, tmp_path: Path
) -> None:
    index, path = built(kind, metric), tmp_path / "index"
    save(index, path)
    other = MetricType.IP if metric is MetricType.L2 else MetricType.L2
    with pytest.raises(SegmentDamaged, match=f"expected {index.dimension}|expected 112"):
        load(path, Shape(other, index.rows, index.dimension))


def container(index_type: int, **blobs: bytes) -> bytes:
    named = [
        struct.pack("<Q", len(name)) + name.encode() + struct.pack("<q", len(blob)) + blob
        for name, blob in blobs.items()
    ]
    return struct.pack("<i", index_type) + b"".join(named)


@pytest.mark.parametrize(
    "content",
    [
        container(IndexType.HNSW, HNSW=b"another library's graph"),
        container(IndexType.RNSG, NSG=b"another library's graph"),
        container(IndexType.ANNOY, annoy_index_data=b"x", annoy_metric_type=b"L2", annoy_dim=b"12"),
        container(IndexType.BIN_IVF_FLAT, BinaryIVF=b"IBwF"),
        container(IndexType.SPTAG_KDT, SPTAG=b"x"),
        container(77, IVF=b"x"),
        container(IndexType.IVF_FLAT, IVF=b"x", RAW_DATA=b"y"),
    ],
)
def test_an_index_of_a_foreign_kind_is_unreadable_but_not_damaged(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "index").write_bytes(content)
    with pytest.raises(IndexUnreadable, match="is not an index this node can read"):
        load(tmp_path / "index", Shape(MetricType.L2, 10, 8))


ONE_LIST_OF_ONE = struct.pack("<2q", 0, 1)


@pytest.mark.parametrize(
    "content",
    [
        container(IndexType.IVF_FLAT, IVF=b"IwFlnonsense"),
        container(IndexType.IVF_FLAT, IVF=b""),
        container(IndexType.HNSW, faiss=b"\xff" * 4000),
        container(IndexType.ANNOY, annoy=b"\0" * 1001),
        container(IndexType.ANNOY, annoy=b""),
        container(IndexType.BIN_IVF_FLAT, centroids=b"12345678", offsets=b"", rows=b"", codes=b"1"),
        container(IndexType.BIN_IVF_FLAT, centroids=b"1", offsets=struct.pack("<2q", 0, 3), rows=b"", codes=b"1"),
        container(
            IndexType.BIN_IVF_FLAT, centroids=b"1", offsets=struct.pack("<2q", 0, 1), rows=b"\x09\0\0\0", codes=b"1"
        ),
        struct.pack("<iQ", IndexType.IVF_FLAT, 1 << 60),
        struct.pack("<iQ3sq", IndexType.IVF_FLAT, 3, b"IVF", -1),
    ],
)
def test_nonsense_is_damaged(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "index").write_bytes(content)
    with pytest.raises(SegmentDamaged):
        load(tmp_path / "index", Shape(MetricType.L2, 1, 8))


def test_a_file_that_shrinks_while_it_is_read_is_damaged() -> None:
    stream = io.BytesIO(container(IndexType.HNSW, faiss=b"0123456789"))
    _, blobs = read(stream)
    stream.truncate(len(stream.getvalue()) - 3)
    assert blobs["faiss"].read(7) == b"0123456"
    with pytest.raises(SegmentDamaged, match="inside a blob"):
        blobs["faiss"].read(3)


def test_an_index_in_a_file_of_another_type_is_damaged(built: Built, tmp_path: Path) -> None:
    save(built(IndexType.IVF_SQ8, MetricType.L2), tmp_path / "index")
    _, blobs = parts((tmp_path / "index").read_bytes())
    (tmp_path / "index").write_bytes(container(IndexType.IVF_FLAT, **blobs))
    with pytest.raises(SegmentDamaged, match="holds a IndexIVFScalarQuantizer"):
        load(tmp_path / "index", Shape(MetricType.L2, 6000, 100))


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SegmentMissing, match="does not exist"):
        load(tmp_path / "index", Shape(MetricType.L2, 1, 8))


def test_without_its_package_an_annoy_file_is_unreadable(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = built(IndexType.ANNOY, MetricType.L2)
    save(index, tmp_path / "index")
    monkeypatch.setattr(forest, "_package", lambda: None)
    with pytest.raises(IndexUnreadable, match=r"mishards\[annoy\]"):
        load(tmp_path / "index", shape_of(index))


@pytest.mark.parametrize(("kind", "metric"), KINDS)
def test_a_full_disk_is_told_as_such(kind: IndexType, metric: MetricType, built: Built) -> None:
    with pytest.raises(OSError, match="No space left"):
        save(built(kind, metric), Path("/dev/full"))
