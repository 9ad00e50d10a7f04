"""Setting how many nodes hold each segment of a collection.

The number is recorded beside the catalog, so that every router reads it with the snapshot and all agree; whoever sets
it knows nothing of the others. New owners are warmed up before they get traffic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mishards.catalog.snapshot import Collection
from mishards.deadline import Deadline
from mishards.errors import CatalogUnavailable, IllegalArgument
from mishards.query.options import MAX_REPLICAS
from mishards.query.route import Routes
from mishards.query.snapshots import Snapshots

Record = Callable[[Collection, "int | None"], None]
"""Records a number for a collection, or takes it back; blocks. Raises CatalogError."""


class Replicas:
    """Reads and sets replica numbers. Belongs to the event loop."""

    def __init__(self, record: Record, snapshots: Snapshots, routes: Routes) -> None:
        self._record = record
        self._snapshots = snapshots
        self._routes = routes

    async def get(self, collection: str, deadline: Deadline) -> int:
        """The number that holds for a collection now. Raises CollectionNotFound."""
        return self._routes.replicas_of((await self._snapshots.fresh(deadline)).collection(collection))

    async def set(self, collection: str, number: int | None, deadline: Deadline) -> None:
        """Set the number of a collection for every router; None goes back to the configured one.

        Raises:
            IllegalArgument: the number is out of range.
            CollectionNotFound: there is no such collection.
            CatalogError: it cannot be recorded, for instance because the account may only read.
        """
        if number is not None and not 1 <= number <= MAX_REPLICAS:
            raise IllegalArgument(f"Invalid replica number: {number}. Valid range is [1, {MAX_REPLICAS}]")
        found = (await self._snapshots.fresh(deadline)).collection(collection)
        try:
            await asyncio.wait_for(asyncio.to_thread(self._record, found, number), deadline.timeout())
        except asyncio.TimeoutError:
            raise CatalogUnavailable(f"the replica number of {collection} may or may not be recorded") from None
        self._snapshots.wrote()
        await self._snapshots.fresh(deadline)


def replica_number(text: str) -> int:
    """The number that a client wrote. Raises IllegalArgument."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise IllegalArgument(f"Invalid replica number: {text}. Valid range is [1, {MAX_REPLICAS}]")
    return int(text)
