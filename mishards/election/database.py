"""Election in the metadata database: a row that its holder renews and the others watch. No server beside it.

Features: server needed none but the database; a leader that died is succeeded after the lease time, and at once where
its process was on the same machine.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress

from mishards.catalog.engine import open_engine
from mishards.catalog.leases import LeaseTable
from mishards.election.api import Candidate, ElectionOptions, Leadership, clock, decode
from mishards.election.process import identity, is_dead
from mishards.election.tenure import Tenure
from mishards.election.watched import Watched
from mishards.errors import CatalogError, ElectionError

LEASE_NAME = "writable"


class DatabaseElector:
    """Stands for the lease of the writable node in the metadata database."""

    def __init__(self, metadata_uri: str, candidate: Candidate, options: ElectionOptions) -> None:
        self._table = LeaseTable(open_engine(metadata_uri), LEASE_NAME)
        self._candidate = candidate
        self._options = options
        self._watched = Watched(options.lease_s)
        self._leader: Candidate | None = None
        self._tenure: Tenure | None = None
        self._closed = threading.Event()

    @property
    def leader(self) -> Candidate | None:
        """Who held the lease when it was last read."""
        return self._leader

    def attempt(self) -> Leadership | None:
        """Take the lease if nobody holds it, or its holder is dead or silent for the lease time."""
        try:
            seen = self._table.read()
            run_out = self._watched.has_run_out(seen, clock())
            if seen.holder and not run_out and not self._is_dead(seen.holder):
                self._leader = decode(seen.holder)
                return None
            holder = self._record()
            asked_at = clock()
            if not self._table.take(seen, holder):
                return None
        except CatalogError as error:
            raise ElectionError(f"the lease in the metadata database cannot be had: {error}") from error
        self._leader = self._candidate
        self._tenure = Tenure(
            lambda: _answered(self._table.renew, holder),
            lambda: _answered(self._table.give_back, holder),
            asked_at=asked_at,
            lease_s=self._options.lease_s,
            renew_s=self._options.renew_s,
        )
        return self._tenure

    def wait(self, timeout_s: float) -> None:
        """Wait until the lease is worth a look again."""
        self._closed.wait(min(timeout_s, self._watched.pause_s(clock(), self._options.renew_s)))

    def close(self) -> None:
        """Resign, and give the connections back."""
        self._closed.set()
        if self._tenure is not None:
            self._tenure.resign()
        self._table.close()

    def _record(self) -> str:
        fields = {
            "name": self._candidate.name,
            "address": self._candidate.address,
            "process": identity(),
            "token": secrets.token_hex(8),
        }
        return json.dumps(fields, ensure_ascii=False)

    def _is_dead(self, holder: str) -> bool:
        if not self._options.same_host:
            return False
        with suppress(ValueError, KeyError, TypeError):
            return is_dead(str(json.loads(holder)["process"]))
        return False


def _answered(ask: Callable[[str], bool], holder: str) -> bool:
    try:
        return ask(holder)
    except CatalogError as error:
        raise ElectionError(str(error)) from error
