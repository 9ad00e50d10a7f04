"""Draining nodes for every router: recorded beside the catalog, and read with each snapshot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mishards.deadline import Deadline
from mishards.errors import CatalogUnavailable
from mishards.query.snapshots import Snapshots

RecordDrain = Callable[[str, bool], None]
"""Records whether the node of that name is drained; blocks. Raises CatalogError."""


class Drains:
    """Sets which nodes are drained. Belongs to the event loop."""

    def __init__(self, record: RecordDrain, snapshots: Snapshots) -> None:
        self._record = record
        self._snapshots = snapshots

    async def set(self, node: str, deadline: Deadline, *, drained: bool) -> None:
        """Drain a node, or take it back; this router goes by it when it returns, the others with their next snapshot.

        Raises:
            CatalogError: it cannot be recorded, for instance because the account may only read.
        """
        try:
            await asyncio.wait_for(asyncio.to_thread(self._record, node, drained), deadline.timeout())
        except asyncio.TimeoutError:
            raise CatalogUnavailable(f"whether {node} is drained may or may not be recorded") from None
        self._snapshots.wrote()
        await self._snapshots.fresh(deadline)
