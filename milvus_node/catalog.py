"""The catalog as one node sees it: what is known, what is so now, and its own changes read back."""

from __future__ import annotations

import time
from concurrent.futures import TimeoutError as FutureTimeoutError

from mishards.catalog.cache import SnapshotCache
from mishards.catalog.snapshot import Snapshot
from mishards.errors import CatalogError, CatalogUnavailable


class NodeCatalog:
    """Snapshots for the node's calls. Safe to use from any thread; nothing waits longer than ``wait_s`` seconds."""

    def __init__(self, cache: SnapshotCache, *, is_writer: bool, wait_s: float = 5.0) -> None:
        """``is_writer``: nobody else changes the catalog, and each change of this node is read back before it ends."""
        self._cache = cache
        self.is_writer = is_writer
        """May change, as a node begins to lead and ends."""
        self._wait_s = wait_s

    def known(self) -> Snapshot:
        """The last good snapshot, at once.

        Raises:
            CatalogUnavailable: none was ever read.
        """
        current = self._cache.current
        return self.refreshed() if current is None else current

    def now(self) -> Snapshot:
        """The catalog as it is when this call begins; the last good snapshot where the database is away."""
        if self.is_writer:
            return self.known()
        if self._cache.error is not None and self._cache.current is not None:
            return self._cache.current
        try:
            return self.refreshed()
        except CatalogError:
            if self._cache.current is None:
                raise
            return self._cache.current

    def at_least(self, revision: int) -> Snapshot:
        """A snapshot of this revision of the catalog or a newer one: whoever asks for it knows that there is one.

        Raises:
            CatalogUnavailable: it cannot be read now. An older one would show what has been deleted since.
        """
        current = self._cache.current
        if current is None or current.revision < revision:
            current = self.refreshed()
        if current.revision < revision:
            raise CatalogUnavailable(
                f"a search needs revision {revision} of the metadata, and this node can read {current.revision} only"
            )
        return current

    def refreshed(self) -> Snapshot:
        """A snapshot read after this call began.

        Raises:
            CatalogUnavailable: the database did not answer in time.
        """
        try:
            return self._cache.fresh(time.monotonic()).result(self._wait_s)
        except FutureTimeoutError:
            raise CatalogUnavailable(f"the metadata database gave no answer within {self._wait_s:g} s") from None
