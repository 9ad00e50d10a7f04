"""Setting replica numbers. A number counts for the collection as it is now, and goes when the collection is dropped."""

from __future__ import annotations

from sqlalchemy import Engine, delete, insert, select

from mishards.catalog.recording import recording
from mishards.catalog.snapshot import Collection
from mishards.catalog.tables import replica_numbers, tables


class ReplicaWriter:
    """Records replica numbers. Safe from any thread; a call waits for the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def set(self, collection: Collection, number: int | None) -> None:
        """Record a number; None takes back the one that was set. Raises as ``recording`` does."""
        with recording(self._engine, replica_numbers, f"the replica number of {collection.name}") as connection:
            known = select(tables.c.table_id)
            stale = replica_numbers.c.collection.not_in(known)
            connection.execute(delete(replica_numbers).where(stale | (replica_numbers.c.collection == collection.name)))
            if number is not None:
                row = {"collection": collection.name, "created_on": collection.table.created_on, "replicas": number}
                connection.execute(insert(replica_numbers).values(**row))

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()
