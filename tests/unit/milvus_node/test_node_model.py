"""The whole node, without a network, against dict and numpy: whatever is called in whatever order, it agrees."""

from __future__ import annotations

import asyncio
import copy
import json
import shutil
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from numpy.typing import NDArray

from harness.node_rpc import Rpc, ok, records, search_param, status
from harness.vectors import gaussian, nearest, squared_l2
from milvus_node.assembly import Node
from milvus_node.config import ElectionSettings, NodeOptions, StorageOptions
from milvus_node.ingest import collections, rewrite

DIM = 4
TOPK = 5
L2, HAMMING = 1, 3
INDEXES = {
    2: '{"nlist":2}',
    4: '{"search_length":10,"out_degree":5,"candidate_pool_size":50,"knng":5}',
    11: '{"M":4,"efConstruction":16}',
}
"""IVF_FLAT, RNSG and HNSW, with parameters for a build."""
IVF_FLAT = 2
EXACTLY = '{"nprobe":2,"ef":4096,"search_length":300}'
"""Parameters of a search with which each of them looks at every row."""
ILLEGAL_IDS = 12
DEFAULT = "_default"
NAMES = ("a", "b", "c")
"""Given ids; ids that the node gives; binary vectors, of as many bits as DIM bytes have."""

Vectors = NDArray[Any]
Rows = list[tuple[int, Vectors]]


def some(name: str, rows: int, seed: int) -> Vectors:
    """Vectors for a collection of this name."""
    if name == "c":
        return np.random.default_rng(seed).integers(0, 256, (rows, DIM), np.uint8)
    return gaussian(rows, DIM, seed)


def distances_of(queries: Vectors, rows: Vectors) -> NDArray[Any]:
    """Every distance, [nq, n]."""
    if queries.dtype == np.uint8:
        differing = np.bitwise_xor(queries[:, None], rows[None])
        return np.asarray(np.unpackbits(differing, axis=2).sum(axis=2), np.float32)
    return squared_l2(queries, rows)


@dataclass
class Model:
    """What a collection should hold: rows by partition, as the next flush will show them and as they are shown."""

    accepted: dict[str, Rows] = field(default_factory=lambda: {DEFAULT: []})
    shown: dict[str, Rows] = field(default_factory=lambda: {DEFAULT: []})
    ids_generated: bool | None = None

    def flush(self) -> None:
        self.shown = copy.copy(self.accepted)

    def insert(self, tag: str, ids: list[int], vectors: Vectors) -> None:
        self.accepted[tag] = [*self.accepted[tag], *zip(ids, vectors, strict=True)]

    def delete(self, tags: list[str], ids: set[int]) -> None:
        for tag in tags:
            self.accepted[tag] = [row for row in self.accepted[tag] if row[0] not in ids]

    def rows(self, tag: str = "") -> Rows:
        return [row for name, rows in self.shown.items() if tag in ("", name) for row in rows]


has_collections = precondition(lambda self: bool(self.model))


class NodeMachine(RuleBasedStateMachine):
    """Calls a node and does the same to a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folders: list[Any] = []
        self.model: dict[str, Model] = {}
        self.open(self.new_folder())

    def new_folder(self) -> Path:
        self.folders.append(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        return Path(self.folders[-1].name)

    def open(self, folder: Path) -> None:
        """Start a node; what it would do in the background are rules here."""
        self.folder = folder
        storage = StorageOptions(
            path=folder / "data", auto_flush_interval_s=0, file_cleanup_timeout_s=0, bloom_filters=False
        )
        self.rpc = Rpc(Node(NodeOptions(storage=storage, election=ElectionSettings(uri="none"))), self.loop)
        candidacy = self.rpc.node._candidacy
        assert candidacy is not None
        assert candidacy.term is not None
        assert candidacy.term._maintenance is not None
        self.background = candidacy.term._maintenance
        self.background.stop()

    def teardown(self) -> None:
        self.rpc.node.close()
        self.loop.close()
        for folder in self.folders:
            folder.cleanup()

    def flushed(self) -> None:
        for model in self.model.values():
            model.flush()

    def known(self, name: str, tag: str = "") -> bool:
        return name in self.model and (tag or DEFAULT) in self.model[name].accepted

    # --- definitions -------------------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        for name in NAMES:
            self.create(name)
            self.create_partition(name, "p")
            for tag, seed in (("", 0), ("", 1), ("p", 2)):  # two segments to merge, and one beside them
                self.try_insert(name, tag, some(name, 20, seed), [] if name == "b" else list(range(seed, seed + 20)))
                self.flush_all()

    @rule(name=st.sampled_from(NAMES))
    def create(self, name: str) -> None:
        shape = {"dimension": 8 * DIM, "metric_type": HAMMING} if name == "c" else {"dimension": DIM, "metric_type": L2}
        reply = self.rpc.CreateCollection(collection_name=name, index_file_size=1, **shape)
        assert (status(reply)[0] == 0) == (name not in self.model)
        self.model.setdefault(name, Model())

    @rule(name=st.sampled_from(NAMES), again=st.booleans())
    def drop(self, name: str, again: bool) -> None:
        reply = self.rpc.DropCollection(collection_name=name)
        assert (status(reply)[0] == 0) == (name in self.model)
        self.model.pop(name, None)
        if again:
            self.create(name)

    @rule(name=st.sampled_from(NAMES), tag=st.sampled_from(["p", "q"]))
    def create_partition(self, name: str, tag: str) -> None:
        reply = self.rpc.CreatePartition(collection_name=name, tag=tag)
        assert (status(reply)[0] == 0) == (name in self.model and not self.known(name, tag))
        if name in self.model:
            self.model[name].accepted.setdefault(tag, [])
            self.model[name].shown.setdefault(tag, [])

    @rule(name=st.sampled_from(NAMES), tag=st.sampled_from(["p", "q"]))
    def drop_partition(self, name: str, tag: str) -> None:
        reply = self.rpc.DropPartition(collection_name=name, tag=tag)
        assert (status(reply)[0] == 0) == self.known(name, tag)
        if self.known(name, tag):
            del self.model[name].accepted[tag]
            self.model[name].shown.pop(tag, None)

    @has_collections
    @rule(data=st.data(), kind=st.sampled_from(sorted(INDEXES)))
    def create_index(self, data: st.DataObject, kind: int) -> None:
        name = self.any_name(data)
        kind = IVF_FLAT if name == "c" else kind
        given = search_param(gaussian(1, DIM), json=INDEXES[kind]).extra_params
        ok(self.rpc.CreateIndex(collection_name=name, index_type=kind, extra_params=given))
        self.model[name].flush()

    @has_collections
    @rule(data=st.data())
    def drop_index(self, data: st.DataObject) -> None:
        ok(self.rpc.DropIndex(collection_name=self.any_name(data)))

    def any_name(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.model)))

    def any_tag(self, data: st.DataObject, name: str) -> str:
        """A partition of the collection; empty for the default one."""
        return data.draw(st.sampled_from(["", *sorted(self.model[name].accepted.keys() - {DEFAULT})]))

    # --- rows --------------------------------------------------------------------------------------------------------

    @has_collections
    @rule(data=st.data(), seed=st.integers(0, 1 << 20), first=st.integers(0, 30), rows=st.integers(1, 20))
    def insert(self, data: st.DataObject, seed: int, first: int, rows: int) -> None:
        """Insert rows; in ``b`` the node gives the ids, in ``a`` they repeat."""
        name = self.any_name(data)
        ids = [] if name == "b" else list(range(first, first + rows))
        self.try_insert(name, self.any_tag(data, name), some(name, rows, seed), ids)

    @has_collections
    @rule(data=st.data(), seed=st.integers(0, 1 << 20), rows=st.integers(8, 30))
    def insert_and_flush(self, data: st.DataObject, seed: int, rows: int) -> None:
        name = self.any_name(data)
        ids = [] if name == "b" else list(range(rows))
        self.try_insert(name, self.any_tag(data, name), some(name, rows, seed), ids)
        ok(self.rpc.Flush(collection_name_array=[name]))
        self.model[name].flush()

    @has_collections
    @rule(data=st.data())
    def insert_what_is_refused(self, data: st.DataObject) -> None:
        """Ids of the other kind, or a partition that is not there."""
        name = self.any_name(data)
        if self.model[name].ids_generated is not None:
            self.try_insert(name, "", some(name, 1, 0), [1] if name == "b" else [])
        self.try_insert(name, "unknown", some(name, 1, 0), [] if name == "b" else [1])

    def try_insert(self, name: str, tag: str, vectors: Vectors, ids: list[int]) -> None:
        reply = self.rpc.Insert(
            collection_name=name, row_record_array=records(vectors), row_id_array=ids, partition_tag=tag
        )
        code = status(reply)[0]
        model = self.model[name]
        if model.ids_generated is (len(ids) > 0):
            assert code == ILLEGAL_IDS
            return
        if not self.known(name, tag):
            assert code == 1
            return
        assert code == 0
        given = list(reply.vector_id_array)
        assert given == ids or not ids
        model.ids_generated = not ids
        model.insert(tag or DEFAULT, given, vectors)

    @has_collections
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = self.any_name(data)
        tag = self.any_tag(data, name)
        present = {i for rows in self.model[name].accepted.values() for i, _ in rows}
        ids = data.draw(st.sets(st.sampled_from([*sorted(present), -5]), min_size=1, max_size=8))
        ok(self.rpc.DeleteByID(collection_name=name, partition_tag=tag, id_array=ids))
        self.model[name].delete([tag] if tag else list(self.model[name].accepted), ids)

    @has_collections
    @rule(data=st.data())
    def flush(self, data: st.DataObject) -> None:
        name = self.any_name(data)
        ok(self.rpc.Flush(collection_name_array=[name]))
        self.model[name].flush()

    @rule()
    def flush_all(self) -> None:
        ok(self.rpc.Flush())
        self.flushed()

    @has_collections
    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        ok(self.rpc.Compact(collection_name=self.any_name(data)))

    # --- what happens by itself --------------------------------------------------------------------------------------

    @rule(step=st.sampled_from(["merge", "build", "clean_up"]))
    def maintain(self, step: str) -> None:
        getattr(self.background, step)()

    @rule()
    def restart(self) -> None:
        self.rpc.node.close()
        self.open(self.folder)
        self.flushed()

    @rule()
    def crash(self) -> None:
        """Go on with the folder as a process that was killed now leaves it."""
        folder = self.new_folder()
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        self.rpc.node.close()
        self.open(folder)
        self.flushed()

    # --- agreement ---------------------------------------------------------------------------------------------------

    @invariant()
    def collections_are_those_of_the_model(self) -> None:
        assert set(ok(self.rpc.ShowCollections()).collection_names) == set(self.model)

    @invariant()
    def rows_are_those_of_the_model(self) -> None:
        for name, model in self.model.items():
            info = json.loads(ok(self.rpc.ShowCollectionInfo(collection_name=name)).json_info)
            assert info["row_count"] == len(model.rows())
            assert {partition["tag"] for partition in info["partitions"]} == set(model.accepted)
            for partition in info["partitions"]:
                found: Counter[int] = Counter()
                for segment in partition["segments"] or []:
                    ids = ok(self.rpc.GetVectorIDs(collection_name=name, segment_name=segment["name"])).vector_id_array
                    assert segment["row_count"] == len(ids) > 0
                    found.update(ids)
                assert found == Counter(i for i, _ in model.rows(partition["tag"]))

    @invariant()
    def vectors_are_those_of_the_model(self) -> None:
        for name, model in self.model.items():
            if rows := model.rows():
                ids = [*sorted({i for i, _ in rows}), -5]
                stored = ok(self.rpc.GetVectorsByID(collection_name=name, id_array=ids)).vectors_data
                choices: defaultdict[int, list[Any]] = defaultdict(list)
                for number, vector in rows:
                    choices[number].append(vector.tolist())
                for wanted, record in zip(ids, stored, strict=True):
                    assert list(record.binary_data if name == "c" else record.float_data) in choices.get(wanted, [[]])

    @invariant()
    def searches_are_exact(self) -> None:
        for name, model in self.model.items():
            for tags in ([], ["p"]):
                if not set(tags) - set(model.accepted):
                    self.check_search(name, model, tags)

    def check_search(self, name: str, model: Model, tags: list[str]) -> None:
        rows = model.rows(*tags)
        queries = some(name, 2, len(rows))
        found = ok(self.rpc.call("Search", search_param(queries, TOPK, name=name, tags=tags, json=EXACTLY)))
        ids = np.asarray(found.ids, np.int64).reshape(len(queries), -1)
        got = np.asarray(found.distances, np.float32).reshape(ids.shape)
        if not rows:
            assert (ids == -1).all()
            return
        distances = distances_of(queries, np.stack([vector for _, vector in rows]))
        places, wanted = nearest(distances, TOPK)
        assert (ids[:, places.shape[1] :] == -1).all()
        np.testing.assert_allclose(got[:, : places.shape[1]], wanted, rtol=1e-4, atol=1e-5)
        known = np.asarray([i for i, _ in rows])
        for hits, found_at, exact in zip(ids, got, distances, strict=True):
            hits = hits[hits != -1]
            assert not Counter(hits.tolist()) - Counter(known.tolist())  # equally near rows may stand for each other
            for hit, distance in zip(hits, found_at[: len(hits)], strict=True):
                assert np.isclose(exact[known == hit], distance, rtol=1e-4, atol=1e-5).any()


def test_the_node_agrees_with_the_model_whatever_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (collections, rewrite):
        monkeypatch.setattr(module, "MIN_ROWS_TO_INDEX", 8)  # few rows are to have an index too
    examples = settings.default.max_examples // 8 if settings.default else 12
    run_state_machine_as_test(NodeMachine, settings=settings(max_examples=examples, stateful_step_count=30))
