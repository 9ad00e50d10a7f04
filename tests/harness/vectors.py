"""Small deterministic vectors, and what the right answer over them is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bits = NDArray[np.uint8]
Ids = NDArray[np.int64]


def gaussian(rows: int, dimension: int, seed: int = 0) -> Floats:
    """Return ``float32[rows, dimension]`` of normally distributed numbers."""
    return np.random.default_rng(seed).standard_normal((rows, dimension), dtype=np.float32)


def unit(rows: int, dimension: int, seed: int = 0) -> Floats:
    """Return ``float32[rows, dimension]`` of length 1 each, in directions of equal chance."""
    vectors = gaussian(rows, dimension, seed)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def bits(rows: int, dimension: int, seed: int = 0) -> Bits:
    """Return ``uint8[rows, dimension / 8]`` of random bits, eight dimensions a byte."""
    return np.random.default_rng(seed).integers(0, 256, (rows, dimension // 8), dtype=np.uint8)


def _float32(exact: NDArray[Any]) -> Floats:
    return exact.astype(np.float32)


def squared_l2(queries: Floats, base: Floats) -> Floats:
    """Return ``float32[nq, n]`` of squared Euclidean distances, summed in double precision."""
    differences = queries[:, None, :].astype(np.float64) - base[None, :, :].astype(np.float64)
    return _float32(np.einsum("qnd,qnd->qn", differences, differences))


def inner_product(queries: Floats, base: Floats) -> Floats:
    """Return ``float32[nq, n]`` of inner products, summed in double precision."""
    return _float32(queries.astype(np.float64) @ base.astype(np.float64).T)


def hamming(queries: Bits, base: Bits) -> Floats:
    """Return ``float32[nq, n]`` of numbers of differing bits."""
    return _float32(np.unpackbits(queries[:, None, :] ^ base[None, :, :], axis=2).sum(axis=2))


def jaccard(queries: Bits, base: Bits) -> Floats:
    """Return ``float32[nq, n]`` of one minus common bits over all bits; 0 where both have none."""
    common = np.unpackbits(queries[:, None, :] & base[None, :, :], axis=2).sum(axis=2)
    either = np.unpackbits(queries[:, None, :] | base[None, :, :], axis=2).sum(axis=2)
    return _float32(1.0 - np.where(either == 0, 1.0, common / np.maximum(either, 1)))


def nearest(distances: Floats, k: int, *, largest_first: bool = False) -> tuple[Ids, Floats]:
    """Return positions ``int64[nq, k]`` and distances ``float32[nq, k]`` of the k nearest, ties by position."""
    order = np.argsort(-distances if largest_first else distances, axis=1, kind="stable")[:, :k]
    return order.astype(np.int64), np.take_along_axis(distances, order, axis=1)


def recall(found: Ids, truth: Ids) -> float:
    """Return which share of the true neighbours ``int64[nq, k]`` was found, from 0 to 1."""
    hits = sum(len(np.intersect1d(row, right)) for row, right in zip(found, truth, strict=True))
    return hits / truth.size
