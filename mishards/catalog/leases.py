"""Leases in the metadata database: one row a lease, taken and renewed by compare-and-set.

Knows no time: whether a lease has run out is for those to say who watch its row (``mishards.election.database``).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from mishards.catalog.engine import translated
from mishards.catalog.tables import leases


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A lease as it stands: who holds it (empty is nobody), and how often it was taken, renewed or given back."""

    holder: str
    turn: int


class LeaseTable:
    """The row of one lease. Every method is one transaction and raises CatalogUnavailable without an answer."""

    def __init__(self, engine: Engine, name: str) -> None:
        """The table must be there: ``WritableCatalog.prepare`` makes it."""
        self._engine = engine
        self._write = engine.execution_options(mishards_write=True)
        self._name = name

    def read(self) -> LeaseRecord:
        """The lease now."""
        with translated(self._engine), self._engine.connect() as connection:
            wanted = select(leases.c.holder, leases.c.turn).where(leases.c.name == self._name)
            found = connection.execute(wanted).first()
        if found is not None:
            return LeaseRecord(found.holder, found.turn)
        with translated(self._engine), suppress(IntegrityError), self._write.begin() as connection:
            connection.execute(insert(leases).values(name=self._name))  # it may be there by now
        return LeaseRecord("", 0)

    def take(self, seen: LeaseRecord, holder: str) -> bool:
        """Make ``holder`` hold the lease, if it still stands as it was ``seen``."""
        with translated(self._engine), self._write.begin() as connection:
            changed = connection.execute(
                update(leases)
                .where(leases.c.name == self._name, leases.c.turn == seen.turn, leases.c.holder == seen.holder)
                .values(holder=holder, turn=leases.c.turn + 1)
            )
            return changed.rowcount == 1

    def renew(self, holder: str) -> bool:
        """Count a turn; False where ``holder`` holds the lease no more."""
        return self._set(holder, holder)

    def give_back(self, holder: str) -> bool:
        """Let nobody hold what ``holder`` held; False where it held nothing."""
        return self._set(holder, "")

    def _set(self, holder: str, successor: str) -> bool:
        with translated(self._engine), self._write.begin() as connection:
            changed = connection.execute(
                update(leases)
                .where(leases.c.name == self._name, leases.c.holder == holder)
                .values(holder=successor, turn=leases.c.turn + 1)
            )
            return changed.rowcount == 1

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()
