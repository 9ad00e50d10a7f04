"""Election ``etcd``: one key under a lease, in etcd v3 over HTTP; needs httpx (the extra ``etcd``).

Features: server needed etcd; a leader that died is succeeded after the lease time; a partition is noticed by the lease.

Address form: ``etcd://HOST:PORT,HOST:PORT/KEY``; the port defaults to 2379. Name all servers of the cluster.

Options (in the query): those of the discovery ``etcd``, but for ``ttl_s``: the lease lasts ``election.lease_s``, in
whole seconds; the server has a lower bound of its own (by default 2).

Who can put the key, with a lease of its own, leads for as long as the lease lives.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from mishards.election.api import Candidate, ElectionOptions, Leadership, clock, decode, encode
from mishards.election.tenure import Tenure
from mishards.errors import DiscoveryError, ElectionError
from mishards_plugins.discovery.etcd_gateway import EtcdClient, EtcdOptions, parse

_T = TypeVar("_T")


class EtcdElector:
    """Stands for the key."""

    def __init__(self, options: EtcdOptions, candidate: Candidate, election: ElectionOptions) -> None:
        self._key = options.prefix
        self._candidate = candidate
        self._election = election
        self._client = EtcdClient(options)
        self._lock = threading.Lock()  # the client's
        self._closed = threading.Event()
        self._leader: Candidate | None = None
        self._tenure: Tenure | None = None

    @property
    def leader(self) -> Candidate | None:
        """Who held the key when it was last read."""
        return self._leader

    def attempt(self) -> Leadership | None:
        """Put the key, if nobody has."""
        found = self._asked(lambda: self._client.get(self._key))
        if found is not None:
            self._leader = decode(found.value.decode(errors="replace"))
            return None
        asked_at = clock()
        lease, ttl_s = self._asked(lambda: self._client.grant(math.ceil(self._election.lease_s)))
        value = encode(self._candidate, str(lease)).encode()
        if not self._asked(lambda: self._client.put(self._key, value, lease, 0)):
            with suppress(ElectionError):
                self._give_back(lease)
            return None
        self._leader = self._candidate
        self._tenure = Tenure(
            lambda: self._renew(lease),
            lambda: self._give_back(lease),
            asked_at=asked_at,
            lease_s=ttl_s,
            renew_s=min(self._election.renew_s, ttl_s / 3),
        )
        return self._tenure

    def wait(self, timeout_s: float) -> None:
        """Wait a moment: leases are looked at, not watched."""
        self._closed.wait(min(timeout_s, self._election.renew_s / 2))

    def close(self) -> None:
        """Resign, and close the connections."""
        if self._closed.is_set():
            return
        self._closed.set()
        if self._tenure is not None:
            self._tenure.resign()
        with self._lock:
            self._client.close()

    def _renew(self, lease: int) -> bool:
        def ask() -> bool:
            if not self._client.keep_alive(lease):
                return False
            found = self._client.get(self._key)
            return found is not None and found.lease == lease

        return self._asked(ask)

    def _give_back(self, lease: int) -> None:
        self._asked(lambda: self._client.revoke(lease))

    def _asked(self, ask: Callable[[], _T]) -> _T:
        try:
            with self._lock:
                return ask()
        except DiscoveryError as error:
            raise ElectionError(f"etcd does not answer for {self._key}: {error}") from error


class EtcdElection:
    """The entry point's object."""

    def elector(self, uri: str, candidate: Candidate, options: ElectionOptions) -> EtcdElector:
        """An elector for the key that the URI names."""
        return EtcdElector(parse(uri), candidate, options)


plugin = EtcdElection()
