"""What routers write: facts about placement in tables of our own.

They are no facts about rows, so they move no revision and need no lease. An account that may only read serves all
searches; what it cannot record is an error that says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, Table, inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateTable

from mishards.catalog.engine import translated, where
from mishards.errors import CatalogError, CatalogUnavailable

_DENIED = (1044, 1142, 1143, 1290)
"""MySQL: no right to the database, the table, the column; the server is read-only."""


@contextmanager
def recording(engine: Engine, table: Table, what: str) -> Iterator[Connection]:
    """One transaction on a table, which is made where it is missing. ``what`` is for the error.

    Raises:
        CatalogUnavailable: the database does not answer.
        CatalogError: this account may not write the table, or not make it where it does not exist.
    """
    try:
        with translated(engine), engine.execution_options(mishards_write=True).begin() as connection:
            if not inspect(connection).has_table(table.name):
                connection.execute(CreateTable(table, if_not_exists=True))
            yield connection
    except CatalogError as error:
        if not _is_refusal(error):
            raise
        raise CatalogError(
            f"{what} cannot be recorded: {error}; the account of this router in {where(engine)} needs the right to "
            f"write {table.name}, and to create it where it is missing"
        ) from error


def _is_refusal(error: CatalogError) -> bool:
    """Did the database understand and refuse, for want of rights?"""
    cause = error.__cause__
    original = getattr(cause, "orig", None) if isinstance(cause, SQLAlchemyError) else None
    arguments = getattr(original, "args", ())
    if arguments and arguments[0] in _DENIED:
        return True
    return not isinstance(error, CatalogUnavailable) or "readonly database" in str(error)
