"""A cluster of doubles over one folder and one database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.milvus1.cluster import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Lend a cluster over SQLite without nodes."""
    with Cluster(tmp_path) as made:
        yield made
