from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from harness.waiting import eventually
from milvus_node.catalog import NodeCatalog
from mishards.catalog.cache import SnapshotCache
from mishards.catalog.snapshot import Snapshot
from mishards.errors import CatalogUnavailable

WAIT_S = 20.0


class Source:
    """A database that answers, fails, or hangs for a moment."""

    def __init__(self) -> None:
        self.reads = 0
        self.error: CatalogUnavailable | None = None

    def read(self, _: Snapshot | None) -> Snapshot:
        taken_at = time.monotonic()
        self.reads += 1
        if self.error is not None:
            raise self.error
        return Snapshot(self.reads, taken_at, {}, self.reads)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def cache(source: Source) -> Iterator[SnapshotCache]:
    found = SnapshotCache(source.read, interval_s=3600)
    yield found
    found.close()


def test_what_is_known_is_given_without_a_read_once_there_is_something(cache: SnapshotCache, source: Source) -> None:
    cache.start()
    catalog = NodeCatalog(cache, is_writer=False)
    first = catalog.known()
    assert catalog.known() is first
    assert source.reads <= 2


def test_a_reader_looks_again_for_what_is_so_now_and_the_writer_knows(cache: SnapshotCache, source: Source) -> None:
    cache.start()
    reader, writer = NodeCatalog(cache, is_writer=False), NodeCatalog(cache, is_writer=True)
    first = reader.refreshed()
    assert writer.now() is first
    second = reader.now()
    assert second.version > first.version
    assert writer.refreshed().version > second.version


def test_a_reader_lives_with_what_it_knows_while_the_database_is_away(cache: SnapshotCache, source: Source) -> None:
    cache.start()
    catalog = NodeCatalog(cache, is_writer=False)
    known = catalog.refreshed()
    source.error = CatalogUnavailable("away")
    assert catalog.now() is known
    reads = source.reads
    assert catalog.now() is known
    assert source.reads == reads  # known to be away, so it is not asked again
    with pytest.raises(CatalogUnavailable, match="away"):
        catalog.refreshed()


def test_without_any_snapshot_the_error_is_told(cache: SnapshotCache, source: Source) -> None:
    source.error = CatalogUnavailable("away")
    cache.start()
    for catalog in (NodeCatalog(cache, is_writer=False), NodeCatalog(cache, is_writer=True)):
        for ask in (catalog.known, catalog.now, catalog.refreshed):
            with pytest.raises(CatalogUnavailable, match="away"):
                ask()


def test_a_database_that_does_not_answer_costs_a_bounded_time(cache: SnapshotCache, source: Source) -> None:
    catalog = NodeCatalog(cache, is_writer=False, wait_s=0.01)  # the cache does not even read yet
    with pytest.raises(CatalogUnavailable, match=r"no answer within 0\.01 s"):
        catalog.known()
    cache.start()
    eventually(lambda: cache.current, WAIT_S, "it reads at last")
    assert catalog.known().version == 1


def test_a_revision_that_others_have_read_is_read_too_or_refused(cache: SnapshotCache, source: Source) -> None:
    cache.start()
    catalog = NodeCatalog(cache, is_writer=False, wait_s=WAIT_S)
    first = catalog.refreshed()
    assert catalog.at_least(first.revision).revision >= first.revision
    assert catalog.at_least(first.revision + 1).revision > first.revision
    source.error = CatalogUnavailable("away")
    known = catalog.known().revision
    with pytest.raises(CatalogUnavailable):
        catalog.at_least(known + 1)
    assert catalog.at_least(known).revision >= known
    assert catalog.now().revision >= known  # who asks for none gets the last good one
    source.error = None
    with pytest.raises(CatalogUnavailable, match="revision"):
        catalog.at_least(known + 1000)
