"""Searching named segments: each one by its index, then one merge by (distance, id)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np

from milvus_node.index.api import SearchParams, Vectors
from milvus_node.search.cache import SegmentCache
from mishards.catalog.snapshot import Collection, Segment
from mishards.deadline import Deadline
from mishards.kinds import MetricType
from mishards.topk import EMPTY_DISTANCE, NO_ID, TopK, merge

_NEVER: Final = Deadline.never()
_SET_METRICS = (MetricType.SUBSTRUCTURE, MetricType.SUPERSTRUCTURE)


@dataclass(frozen=True, slots=True)
class Query:
    """``vectors`` is float32[nq, dim] or uint8[nq, dim / 8]; ``metric`` is the collection's, or what overrides it.

    Past its ``deadline`` nobody waits for the answer any more.
    """

    vectors: Vectors
    topk: int
    metric: MetricType
    params: SearchParams
    deadline: Deadline = _NEVER


def joined(like: Query, parts: Sequence[tuple[Vectors, Deadline]]) -> Query:
    """One query for those of several callers, ``like`` it in all but vectors and deadlines; due by the last deadline.

    Its answer is theirs, one below the other.
    """
    vectors, deadline = parts[0]
    if len(parts) == 1:
        together = np.ascontiguousarray(vectors)
    else:
        together = np.concatenate([part for part, _ in parts])
        for _, other in parts:
            if other.at > deadline.at:
                deadline = other
    return Query(cast("Vectors", together), like.topk, like.metric, like.params, deadline)


class Searcher:
    """Searches segments through the cache. Safe from any thread; runs on the thread that calls."""

    def __init__(self, cache: SegmentCache) -> None:
        self._cache = cache

    def search(self, collection: Collection, segments: Sequence[Segment], query: Query) -> TopK | None:
        """The nearest of each query over all ``segments``; None when there is no segment at all.

        The width is min(topk, 1 + the sum over segments of min(topk, live rows)), as the protocol lays it out.

        Raises:
            StorageError: a segment cannot be loaded; a short answer is never given.
            DeadlineExceeded: the query's deadline passed before the last segment's turn came.
        """
        if not segments:
            return None
        metric = query.metric
        parts, width = [], 1
        for segment in segments:
            query.deadline.check(f"the search of segment {segment.segment_id} of {collection.name}")
            part, live = self._one(collection, segment, query)
            parts.append(part)
            width += min(query.topk, live)
        if len(parts) == 1 and _is_final(parts[0], query.topk):
            return parts[0]
        merged = merge(parts, min(query.topk, width), larger_is_nearer=metric.larger_is_nearer)
        return _with_inner_padding(merged) if metric in _SET_METRICS else merged

    def _one(self, collection: Collection, segment: Segment, query: Query) -> tuple[TopK, int]:
        if segment.rows == 0:
            return _nothing(len(query.vectors)), 0  # rows never come back, so it need not be loaded
        with self._cache.hold(collection, segment, query.deadline) as loaded:
            tombstones = loaded.tombstones_at(segment.version)
            live = len(loaded.ids) - tombstones.count
            if live == 0:
                return _nothing(len(query.vectors)), 0
            k = min(query.topk, live)
            local = loaded.index.search(query.vectors, k, query.params, deleted=tombstones.mask, metric=query.metric)
            ids = loaded.ids.take(local.ids, mode="wrap")  # NO_ID takes the last one's, for now
            if local.ids[:, -1].min() == NO_ID:
                ids[local.ids == NO_ID] = NO_ID
            return TopK(ids, local.distances), live


def _is_final(part: TopK, topk: int) -> bool:
    """Is the answer of one segment the whole answer: full, and without equal distances that ids would have to order?"""
    ids, distances = part.ids, part.distances
    if ids.shape[1] != topk or ids[:, -1].min() == NO_ID:
        return False
    return not (distances[:, 1:] == distances[:, :-1]).any()


def _nothing(nq: int) -> TopK:
    return TopK(np.empty((nq, 0), np.int64), np.empty((nq, 0), np.float32))


def _with_inner_padding(found: TopK) -> TopK:
    """The protocol pads an unfilled place of a set metric with +inf, except the last column's FLT_MAX."""
    distances = found.distances.copy()
    inner = found.ids == NO_ID
    inner[:, -1] = False
    distances[inner] = np.inf
    distances[:, -1][found.ids[:, -1] == NO_ID] = EMPTY_DISTANCE
    return TopK(found.ids, distances)
