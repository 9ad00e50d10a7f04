"""Discovery ``etcd``: nodes register in etcd v3, which is spoken to over HTTP; needs httpx (the extra ``etcd``).

Features: whole sets yes; announces yes; server needed etcd; TLS and passwords yes; death noticed after a lease's time.

Address form: ``etcd://HOST:PORT,HOST:PORT/PREFIX``; the port defaults to 2379. Name all servers of the cluster.

Options (in the query):
    ``ttl_s``: whole seconds that etcd waits for a process before it takes its key away, default 5. The server has a
    lower bound of its own (by default 2).
    ``tls``: ``on`` or ``off``; on where a file is named. ``ca``: a file with whom to trust, default the system's.
    ``cert``, ``key``: files that prove who we are.
    ``user``: a user of etcd, and ``password_file`` or ``password_env``, the file or the variable with the password.
    Where etcd wants certificates of clients too (``--client-cert-auth``), these must have no common name: its HTTP
    interface refuses them otherwise.

The key ``PREFIX/<name>`` holds a node's record under a lease. A key that was put by hand may have none: it is a node
like the others, for as long as it is there.

Invariants: a set is always read whole, after every change and after every silence; one is only given up as lost when no
server has answered.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import httpx

from mishards.discovery.api import NodeRecord
from mishards.discovery.record import decode, encode
from mishards.errors import BadNodeRecord, DiscoveryError
from mishards_plugins.discovery.etcd_gateway import (
    EtcdClient,
    EtcdOptions,
    Held,
    below,
    held,
    lines_result,
    parse,
    takeover_s,
)
from mishards_plugins.discovery.http_watch import ANSWER_S, HttpWatch
from mishards_plugins.discovery.kept_entry import KeptAnnouncer
from mishards_plugins.discovery.reports import Found

_SILENCE_S = 5.0


class EtcdKeys:
    """Reads and watches the keys below a prefix."""

    def __init__(self, options: EtcdOptions) -> None:
        self._options = options

    async def follow(self, http: httpx.AsyncClient, server: str) -> AsyncGenerator[Found, None]:
        """The nodes, again after every change."""
        while True:
            reply = await http.post(f"{server}/v3/kv/range", json=below(self._options.prefix))
            reply.raise_for_status()
            answer = reply.json()
            revision = int(answer["header"]["revision"])
            yield nodes_of(held(answer), self._options)
            await self._until_changed(http, server, revision)

    async def _until_changed(self, http: httpx.AsyncClient, server: str, revision: int) -> None:
        """Return after a change, or a silence that may be the server's."""
        request = {"create_request": {**below(self._options.prefix), "start_revision": str(revision + 1)}}
        timeout = httpx.Timeout(ANSWER_S, read=_SILENCE_S)
        try:
            async with http.stream("POST", f"{server}/v3/watch", json=request, timeout=timeout) as reply:
                reply.raise_for_status()
                async for line in reply.aiter_lines():
                    result = lines_result(line)
                    if result.get("events") or result.get("canceled"):
                        return
        except httpx.ReadTimeout:
            return
        raise httpx.RemoteProtocolError("the watch ended")


def nodes_of(entries: Sequence[Held], options: EtcdOptions) -> Found:
    """The records below the prefix; pure."""
    nodes, left_out = set(), set()
    for entry in entries:
        try:
            node = decode(entry.value, entry.key)
            if entry.key != options.key(node.name):
                raise BadNodeRecord(f"{entry.key} is a record of {node.name}")
            nodes.add(node)
        except BadNodeRecord as error:
            left_out.add(str(error))
    return Found(frozenset(nodes), frozenset(left_out))


class EtcdEntry:
    """A key and its lease; both are made again when they were lost."""

    def __init__(self, options: EtcdOptions) -> None:
        self._options = options
        self._client = EtcdClient(options)
        self._lease = 0
        self._ttl_s = options.ttl_s

    @property
    def every_s(self) -> float:
        """A lease survives two renewals that fail."""
        return self._ttl_s / 3

    @property
    def takeover_s(self) -> float:
        """Until a dead process's lease is over."""
        return takeover_s(self._ttl_s)

    def place(self, node: str) -> str:
        """The key."""
        return self._options.key(node)

    def put(self, node: NodeRecord) -> bool:
        """Have the lease live and the key stand as it should; False when another lease's stands there.

        Raises:
            DiscoveryError: no server answers, or the key has no lease, so that no process will ever let go of it.
        """
        client, key, raw = self._client, self.place(node.name), encode(node)
        if self._lease and not client.keep_alive(self._lease):
            self._lease = 0
        if not self._lease:
            self._lease, self._ttl_s = client.grant(self._options.ttl_s)
        found = client.get(key)
        if found is None:
            return client.put(key, raw, self._lease, 0)
        if not found.lease:
            raise DiscoveryError(f"{key} in etcd was put by hand; delete it to announce the node")
        if found.lease != self._lease:
            return False
        return found.value == raw or client.put(key, raw, self._lease, found.changed_at)

    def remove(self) -> None:
        """End the lease, and the key with it. Raises DiscoveryError when no server answers."""
        try:
            if self._lease:
                self._client.revoke(self._lease)
        finally:
            self._client.close()


class EtcdPlugin:
    """The entry point's object."""

    def discovery(self, uri: str) -> HttpWatch:
        """A discovery over the prefix that the URI names."""
        options = parse(uri)
        return HttpWatch("etcd", options.servers, EtcdKeys(options).follow, options.access())

    def announcer(self, uri: str) -> KeptAnnouncer:
        """An announcer below the prefix that the URI names."""
        options = parse(uri)
        options.access()  # what it needs is there
        return KeptAnnouncer("etcd", lambda _wake: EtcdEntry(options))


plugin = EtcdPlugin()
