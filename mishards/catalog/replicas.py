"""Setting replica numbers: the one thing that a router writes.

They are facts about placement, not about rows, so they move no revision and need no lease. The number counts for the
collection as it is now, and goes when the collection is dropped.
"""

from __future__ import annotations

from sqlalchemy import Engine, delete, insert, inspect, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateTable

from mishards.catalog.engine import translated, where
from mishards.catalog.snapshot import Collection
from mishards.catalog.tables import replica_numbers, tables
from mishards.errors import CatalogError, CatalogUnavailable


class ReplicaWriter:
    """Records replica numbers. Safe from any thread; a call waits for the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(mishards_write=True)

    def set(self, collection: Collection, number: int | None) -> None:
        """Record a number; None takes back the one that was set.

        Raises:
            CatalogUnavailable: the database does not answer.
            CatalogError: this account may not write the table, or not make it where it does not exist.
        """
        try:
            with translated(self._engine), self._engine.begin() as connection:
                if not inspect(connection).has_table(replica_numbers.name):
                    connection.execute(CreateTable(replica_numbers, if_not_exists=True))
                known = select(tables.c.table_id)
                stale = replica_numbers.c.collection.not_in(known)
                connection.execute(
                    delete(replica_numbers).where(stale | (replica_numbers.c.collection == collection.name))
                )
                if number is not None:
                    row = {
                        "collection": collection.name,
                        "created_on": collection.table.created_on,
                        "replicas": number,
                    }
                    connection.execute(insert(replica_numbers).values(**row))
        except CatalogError as error:
            if not _is_refusal(error):
                raise
            raise CatalogError(
                f"the replica number of {collection.name} cannot be recorded: {error}; the account of this router in "
                f"{where(self._engine)} needs the right to write {replica_numbers.name}, and to create it where it is "
                f"missing"
            ) from error

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()


_DENIED = (1044, 1142, 1143, 1290)
"""MySQL: no right to the database, the table, the column; the server is read-only."""


def _is_refusal(error: CatalogError) -> bool:
    """Did the database understand and refuse, for want of rights?"""
    cause = error.__cause__
    original = getattr(cause, "orig", None) if isinstance(cause, SQLAlchemyError) else None
    arguments = getattr(original, "args", ())
    if arguments and arguments[0] in _DENIED:
        return True
    return not isinstance(error, CatalogUnavailable) or "readonly database" in str(error)
