"""Which snapshot a request works on.

A database that is away or frozen delays nothing: once a read is known to fail or to hang, the last good snapshot serves
at once, whatever its age; only strong consistency insists.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from mishards.catalog.cache import SnapshotCache
from mishards.catalog.snapshot import Snapshot
from mishards.deadline import Deadline
from mishards.errors import CatalogError, CatalogUnavailable
from mishards.logs import notes
from mishards.query.options import Consistency, SearchOptions
from mishards.query.unflushed import Unflushed

_STALLED_S: Final = 1.0
"""A read that takes longer than this counts as hanging."""


class Snapshots:
    """Chooses snapshots by consistency level; belongs to the event loop."""

    def __init__(self, cache: SnapshotCache, options: SearchOptions) -> None:
        self._cache = cache
        self._options = options
        self._wrote_at = float("-inf")
        self.unflushed = Unflushed()

    def reconfigure(self, options: SearchOptions) -> None:
        """Go by other options from now on."""
        self._options = options

    @property
    def current(self) -> Snapshot | None:
        """The last good snapshot."""
        return self._cache.current

    def wrote(self) -> None:
        """Note that a write through this router has just returned: session consistency looks no further back."""
        self._wrote_at = time.monotonic()

    async def at(self, level: Consistency, graceful_ms: int, deadline: Deadline) -> Snapshot:
        """A snapshot that satisfies the level; for strong consistency the caller has made writes visible before.

        Raises:
            CatalogUnavailable: no snapshot has ever been read, or strong consistency cannot be had now.
        """
        if level is Consistency.STRONG:
            return await self._read(time.monotonic(), deadline)
        not_before = self._not_before(level, graceful_ms)
        current = self._cache.current
        if current is not None and current.taken_at >= not_before:
            return current
        return await self.newer(not_before, deadline)

    def at_hand(self, level: Consistency, graceful_ms: int) -> Snapshot | None:
        """The last good snapshot, if it satisfies the level; never for strong consistency."""
        current = self._cache.current
        if current is None or level is Consistency.STRONG or current.taken_at < self._not_before(level, graceful_ms):
            return None
        return current

    def _not_before(self, level: Consistency, graceful_ms: int) -> float:
        if level is Consistency.EVENTUALLY:
            return float("-inf")
        graceful = time.monotonic() - graceful_ms / 1000
        return max(graceful, self._wrote_at) if level is Consistency.SESSION else graceful

    async def fresh(self, deadline: Deadline) -> Snapshot:
        """A snapshot whose read begins now; the last good one where the database is away."""
        return await self.newer(time.monotonic(), deadline)

    async def newer(self, not_before: float, deadline: Deadline) -> Snapshot:
        """A snapshot taken at or after ``not_before``, or the last good one where that cannot be had in time."""
        current = self._cache.current
        if current is not None and (self._cache.error is not None or self._cache.stalled_s > _STALLED_S):
            self._cache.fresh(not_before)
            return current
        wait = deadline if current is None else deadline.earlier(self._options.metadata_wait_ms / 1000)
        try:
            return await self._read(not_before, wait)
        except CatalogError:
            current = self._cache.current
            if current is None:
                raise
            return current

    async def _read(self, not_before: float, deadline: Deadline) -> Snapshot:
        try:
            with notes.stage("load_metadata"):
                return await asyncio.wait_for(asyncio.wrap_future(self._cache.fresh(not_before)), deadline.timeout())
        except asyncio.TimeoutError as error:
            raise CatalogUnavailable("the metadata database did not answer in time") from error
