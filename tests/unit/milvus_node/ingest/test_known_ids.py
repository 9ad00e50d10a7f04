from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from milvus_node.ingest.known_ids import KnownIds

IDS = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 40), max_size=20)


@given(stored=IDS, wanted=IDS)
def test_what_is_in_a_segment_is_never_excluded(stored: list[int], wanted: list[int]) -> None:
    known = KnownIds()
    ids, asked = np.asarray(stored, np.int64), np.asarray(wanted, np.int64)
    assert not known.exclude("1", asked)
    known.learn("1", ids)
    if set(stored) & set(wanted):
        assert not known.exclude("1", asked)
    if not {i & 0xFFFFFFFF for i in stored} & {i & 0xFFFFFFFF for i in wanted}:
        assert known.exclude("1", asked)


def test_the_least_recently_asked_segment_is_forgotten_first() -> None:
    known, ids, other = KnownIds(capacity_bytes=80), np.arange(10), np.arange(100, 101)
    for name in ("a", "b", "a"):
        known.learn(name, ids)
    assert known.exclude("a", other)
    known.learn("c", ids)
    assert [known.exclude(name, other) for name in "abc"] == [True, False, True]
