"""Real vectors to index, and the indexes that several tests search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from milvus_node.index.api import BuildParams, VectorIndex, Vectors
from milvus_node.index.factory import build
from mishards.kinds import IndexType, MetricType

DATA = Path(__file__).parents[3] / "data"


@dataclass(frozen=True)
class Sample:
    """``base`` to index and ``query`` to search for."""

    base: Vectors
    query: Vectors


@pytest.fixture(scope="session")
def words() -> Sample:
    with np.load(DATA / "glove_words.npz") as arrays:
        return Sample(arrays["base"].astype(np.float32), arrays["query"].astype(np.float32))


@pytest.fixture(scope="session")
def fingerprints() -> Sample:
    with np.load(DATA / "moses_fingerprints.npz") as arrays:
        return Sample(arrays["base"], arrays["query"])


@pytest.fixture(scope="session")
def built(words: Sample, fingerprints: Sample) -> Callable[[IndexType, MetricType], VectorIndex]:
    """Build an index of the sample that fits the metric, once."""

    @cache
    def index(index_type: IndexType, metric: MetricType) -> VectorIndex:
        sample = fingerprints if metric.is_binary else words
        return build(index_type, metric, sample.base, BuildParams(nlist=64, m=20, n_trees=12))

    return index
