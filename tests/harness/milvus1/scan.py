"""Brute force over one segment, and the reduce of several segments as the server does it: pure functions.

A row of a result is a list of hits, best first. An id of -1 is no hit; where it stands and at which distance is part of
what this double shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.milvus1.kinds import FLOAT_MAX, Engine, Metric
from harness.milvus1.segments import Ids, Rows
from harness.vectors import hamming, inner_product, jaccard, squared_l2

Hit = tuple[int, float]
"""Id and distance."""


@dataclass(frozen=True)
class Probe:
    """One query over one segment."""

    metric: Metric
    query: Rows
    """``uint8[bytes of a vector]``, as it is stored."""
    k: int
    at_most: int | None = None
    """How many rows an approximate index finds."""
    padding: float = FLOAT_MAX
    """The distance that fills a short row."""


def distances(metric: Metric, query: Rows, rows: Rows) -> NDArray[np.float32]:
    """Return ``float32[n]``; a row that SUBSTRUCTURE or SUPERSTRUCTURE does not match is at nan."""
    if not metric.is_binary:
        measure = inner_product if metric is Metric.IP else squared_l2
        return measure(_floats(query[None]), _floats(rows)).ravel()
    if metric is Metric.HAMMING:
        return hamming(query[None], rows).ravel()
    if metric is Metric.SUBSTRUCTURE:
        return _zero_where(((query & rows) == query).all(axis=1))
    if metric is Metric.SUPERSTRUCTURE:
        return _zero_where(((query & rows) == rows).all(axis=1))
    share = 1.0 - jaccard(query[None], rows)[0].astype(np.float64)
    if metric is Metric.JACCARD:
        return np.asarray(1.0 - share, dtype=np.float32)
    with np.errstate(divide="ignore"):
        return np.asarray(np.abs(np.log2(share)), dtype=np.float32)


def _floats(rows: Rows) -> NDArray[np.float32]:
    return np.ascontiguousarray(rows).view("<f4").astype(np.float32)


def _zero_where(matches: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(matches, 0, np.nan).astype(np.float32)


def nearest(probe: Probe, rows: Rows, ids: Ids, live: NDArray[np.bool_]) -> list[Hit]:
    """Return exactly ``k`` hits of one segment, padded at the end; equal distances in the order of the rows."""
    measured = distances(probe.metric, probe.query, rows)
    candidates = np.flatnonzero(live & ~np.isnan(measured))
    keys = -measured[candidates] if probe.metric is Metric.IP else measured[candidates]
    best = candidates[np.argsort(keys, kind="stable")][: min(probe.k, probe.at_most or probe.k)]
    hits = [(int(ids[row]), float(measured[row])) for row in best]
    return hits + [(-1, probe.padding)] * (probe.k - len(hits))


def padding(engine: int, metric: Metric, *, hnsw_pads_with_minus_one: bool) -> float:
    """Return the distance at which an engine puts what it did not find."""
    if metric in (Metric.SUBSTRUCTURE, Metric.SUPERSTRUCTURE) or engine == Engine.ANNOY:
        return math.inf
    if engine == Engine.HNSW and hnsw_pads_with_minus_one:
        return 2.0 if metric is Metric.IP else -1.0
    return -FLOAT_MAX if metric is Metric.IP else FLOAT_MAX


PLACEHOLDER: Sequence[Hit] = ((-1, FLOAT_MAX),)
"""What every row of a result begins with, also where larger is nearer."""


def merged(target: Sequence[Hit], source: Sequence[Hit], topk: int, *, larger_first: bool) -> list[Hit]:
    """Merge one segment's row into the row so far, at most ``topk`` wide.

    An id -1 in the target gives way to anything; an id -1 in the source is compared by its distance like a hit. So
    the padding of HNSW may come to stand before real hits. The target is kept where distances are equal.
    """
    width = min(topk, len(target) + len(source))
    row: list[Hit] = []
    at, of = 0, 0
    while len(row) < width and at < len(target) and of < len(source):
        (kept, kept_distance), (_, distance) = target[at], source[of]
        nearer = distance > kept_distance if larger_first else distance < kept_distance
        if kept == -1 or nearer:
            row.append(source[of])
            of += 1
        else:
            row.append(target[at])
            at += 1
    rest = source[of:] if of < len(source) else target[at:]
    return [*row, *rest][:width]
