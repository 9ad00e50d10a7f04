"""Searching named segments: each one by its index, then one merge by (distance, id)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from milvus_node.index.api import SearchParams, Vectors
from milvus_node.search.cache import SegmentCache
from mishards.catalog.snapshot import Collection, Segment
from mishards.kinds import MetricType
from mishards.topk import EMPTY_DISTANCE, NO_ID, TopK, merge

_SET_METRICS = (MetricType.SUBSTRUCTURE, MetricType.SUPERSTRUCTURE)


@dataclass(frozen=True, slots=True)
class Query:
    """``vectors`` is float32[nq, dim] or uint8[nq, dim / 8]; ``metric`` is the collection's, or what overrides it."""

    vectors: Vectors
    topk: int
    metric: MetricType
    params: SearchParams


class Searcher:
    """Searches segments through the cache. Safe from any thread; runs on the thread that calls."""

    def __init__(self, cache: SegmentCache) -> None:
        self._cache = cache

    def search(self, collection: Collection, segments: Sequence[Segment], query: Query) -> TopK | None:
        """The nearest of each query over all ``segments``; None when there is no segment at all.

        The width is min(topk, 1 + the sum over segments of min(topk, live rows)), as the protocol lays it out.

        Raises:
            StorageError: a segment cannot be loaded; a short answer is never given.
        """
        if not segments:
            return None
        metric = query.metric
        parts, width = [], 1
        for segment in segments:
            part, live = self._one(collection, segment, query)
            parts.append(part)
            width += min(query.topk, live)
        merged = merge(parts, min(query.topk, width), larger_is_nearer=metric.larger_is_nearer)
        return _with_inner_padding(merged) if metric in _SET_METRICS else merged

    def _one(self, collection: Collection, segment: Segment, query: Query) -> tuple[TopK, int]:
        if segment.rows == 0:
            return _nothing(len(query.vectors)), 0  # rows never come back, so it need not be loaded
        with self._cache.hold(collection, segment) as loaded:
            tombstones = loaded.tombstones_at(segment.version)
            live = len(loaded.ids) - tombstones.count
            if live == 0:
                return _nothing(len(query.vectors)), 0
            k = min(query.topk, live)
            local = loaded.index.search(query.vectors, k, query.params, deleted=tombstones.mask, metric=query.metric)
            ids = np.where(local.ids == NO_ID, NO_ID, loaded.ids[local.ids])
            return TopK(ids, local.distances), live


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
