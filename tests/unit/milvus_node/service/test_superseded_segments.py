from __future__ import annotations

import numpy as np

from harness.node_rpc import Rpc, ok, search_param
from milvus_node.search.cache import key_of


def test_a_search_after_an_index_was_built_frees_the_raw_vectors_that_it_replaced(rpc: Rpc) -> None:
    rows = np.random.default_rng(1).random((5000, 4), np.float32)
    rpc.create()
    rpc.insert(rows)
    ok(rpc.search(rows[:1]))
    (raw,) = rpc.node._catalog.refreshed().collection("words").segments
    ok(
        rpc.CreateIndex(
            collection_name="words", index_type=2, extra_params=[{"key": "params", "value": '{"nlist": 16}'}]
        )
    )
    (indexed,) = rpc.node._catalog.refreshed().collection("words").segments
    assert key_of(raw) != key_of(indexed)
    ok(rpc.call("Search", search_param(rows[:1], json='{"nprobe": 16}')))
    usage = rpc.node.cache.usage
    assert (usage.segments, usage.loads, usage.evictions) == (1, 2, 1)


def test_a_search_frees_nothing_that_other_collections_need(rpc: Rpc) -> None:
    rows = np.eye(4, dtype=np.float32)
    for name in ("words", "letters"):
        rpc.create(name)
        rpc.insert(rows, name=name)
        ok(rpc.search(rows, name=name))
    ok(rpc.search(rows, name="words"))
    usage = rpc.node.cache.usage
    assert (usage.segments, usage.loads, usage.evictions) == (2, 2, 0)
