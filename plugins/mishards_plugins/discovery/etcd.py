"""Discovery ``etcd``: nodes register in etcd v3, which is spoken to over HTTP; needs httpx (the extra ``etcd``).

Features: whole sets yes; announces yes; server needed etcd; death noticed after the lease's time.

Address form: ``etcd://HOST:PORT,HOST:PORT/PREFIX``; the port defaults to 2379. Name all servers of the cluster. TLS and
passwords are not offered.

Options (in the query):
    ``ttl_s``: whole seconds that etcd waits for a process before it takes its key away, default 5. The server has a
    lower bound of its own (by default 2).

The key ``PREFIX/<name>`` holds a node's record under a lease. A key that was put by hand may have none: it is a node
like the others, for as long as it is there.

Invariants: a set is always read whole, after every change and after every silence; one is only given up as lost when no
server has answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time

import httpx

from mishards.discovery.api import Listener, NodeRecord
from mishards.discovery.record import decode, encode
from mishards.errors import BadNodeRecord, DiscoveryError
from mishards_plugins.discovery.etcd_gateway import (
    ANSWER_S,
    FAILURES,
    Entry,
    EtcdClient,
    EtcdOptions,
    below,
    entries,
    lines_result,
    parse,
    takeover_s,
)

log = logging.getLogger(__name__)

_SILENCE_S = 5.0
_PAUSE_S = 0.3


class EtcdDiscovery:
    """Watches the keys below a prefix."""

    def __init__(self, options: EtcdOptions) -> None:
        self._options = options
        self._complaints: frozenset[str] = frozenset()
        self._reported: frozenset[NodeRecord] | None = None
        self._stopped = threading.Event()
        self._first = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None

    def open(self, listener: Listener) -> None:
        """Begin to watch."""
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._run(listener),), name="discovery-etcd-watch", daemon=True
        )
        self._thread.start()
        self._first.wait(5)

    def close(self) -> None:
        """Stop watching."""
        self._stopped.set()
        if self._thread is not None:
            if self._loop is not None and self._task is not None:
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(2)

    async def _run(self, listener: Listener) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._watch(listener))
        if self._stopped.is_set():
            self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _watch(self, listener: Listener) -> None:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request
        turn, failed, servers = 0, 0, self._options.servers
        async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False) as http:
            while not self._stopped.is_set():
                server = servers[turn % len(servers)]
                try:
                    revision = await self._read(http, server, listener)
                    failed = 0
                    await self._until_changed(http, server, revision)
                except FAILURES as error:
                    turn, failed = turn + 1, failed + 1
                    if failed >= len(servers):
                        self._lose(listener, DiscoveryError(f"etcd at {server} cannot be read: {error!r}"))
                    await asyncio.sleep(_PAUSE_S)

    async def _read(self, http: httpx.AsyncClient, server: str, listener: Listener) -> int:
        """Report the whole set; returns the revision it was read at."""
        reply = await http.post(f"{server}/v3/kv/range", json=below(self._options.prefix))
        reply.raise_for_status()
        answer = reply.json()
        nodes, revision = self._nodes(entries(answer)), int(answer["header"]["revision"])
        if nodes != self._reported and not self._stopped.is_set():
            listener.nodes(nodes)
        self._reported = nodes
        self._first.set()
        return revision

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

    def _lose(self, listener: Listener, error: DiscoveryError) -> None:
        if (self._reported is not None or not self._first.is_set()) and not self._stopped.is_set():
            listener.lost(error)
        self._reported = None
        self._first.set()

    def _nodes(self, found: list[Entry]) -> frozenset[NodeRecord]:
        nodes, complaints = set(), set()
        for entry in found:
            try:
                node = decode(entry.value, entry.key)
                if entry.key != self._options.key(node.name):
                    raise BadNodeRecord(f"{entry.key} is a record of {node.name}")
                nodes.add(node)
            except BadNodeRecord as error:
                complaints.add(str(error))
        for complaint in sorted(complaints - self._complaints):
            log.warning("left out of discovery: %s", complaint)
        self._complaints = frozenset(complaints)
        return frozenset(nodes)


class EtcdAnnouncer:
    """Holds this process's key and its lease, and makes both again when the lease was lost."""

    def __init__(self, options: EtcdOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._client: EtcdClient | None = None
        self._keeper: threading.Thread | None = None
        self._lease = 0
        self._ttl_s = options.ttl_s
        self._key = ""
        self._raw = b""

    def announce(self, node: NodeRecord) -> None:
        """Put the key, or replace what it holds.

        A name that is taken is waited for: its process may be dead and its lease not over yet. A record that could not
        replace the one before is put in place once etcd is back.

        Raises:
            DiscoveryError: etcd cannot be reached, or a living process holds the name.
        """
        key = self._options.key(node.name)
        if self._key not in ("", key):
            raise DiscoveryError(f"this announcer holds {self._key}; it cannot also announce {node.name}")
        with self._lock:
            self._key, self._raw = key, encode(node)
        if self._client is None:
            self._stopped.clear()
        client = self._client or EtcdClient(self._options.servers)
        try:
            self._claim(client, node.name)
        except DiscoveryError:
            if self._client is None:
                self._let_go(client)
            raise
        if self._client is None:
            self._client = client
            self._keeper = threading.Thread(target=self._keep, args=(client,), name="discovery-etcd-keep", daemon=True)
            self._keeper.start()

    def withdraw(self) -> None:
        """End the lease, and the key with it."""
        self._stopped.set()
        if self._client is not None and self._keeper is not None:
            self._keeper.join(ANSWER_S * len(self._options.servers) + 1)
            self._let_go(self._client)
        self._client = None

    def _let_go(self, client: EtcdClient) -> None:
        if self._lease:
            try:
                client.revoke(self._lease)
            except DiscoveryError as error:
                log.warning("the lease of %s is left to expire: %s", self._key, error)
        client.close()
        self._lease, self._key = 0, ""

    def _claim(self, client: EtcdClient, name: str) -> None:
        begun = time.monotonic()
        while not self._put(client):
            if time.monotonic() >= begun + takeover_s(self._ttl_s):
                raise DiscoveryError(f"a living process already announces node {name} as {self._key} in etcd")
            self._stopped.wait(0.2)

    def _keep(self, client: EtcdClient) -> None:
        complained = False
        while not self._stopped.wait(self._ttl_s / 3 if not complained else _PAUSE_S):
            try:
                trouble = "" if self._put(client) else "another process took the name"
            except DiscoveryError as error:
                trouble = str(error)
            if trouble and not complained:
                log.warning("%s is not announced in etcd; trying on: %s", self._key, trouble)
            complained = bool(trouble)

    def _put(self, client: EtcdClient) -> bool:
        """Have the lease live and the key stand as it should; False when another lease's stands there.

        Raises:
            DiscoveryError: no server answers, or the key has no lease, so that no process will ever let go of it.
        """
        with self._lock:
            if self._lease and not client.keep_alive(self._lease):
                self._lease = 0
            if not self._lease:
                self._lease, self._ttl_s = client.grant(self._options.ttl_s)
            found = client.get(self._key)
            if found is None:
                return client.put(self._key, self._raw, self._lease, 0)
            if not found.lease:
                raise DiscoveryError(f"{self._key} in etcd was put by hand; delete it to announce the node")
            if found.lease != self._lease:
                return False
            return found.value == self._raw or client.put(self._key, self._raw, self._lease, found.changed_at)


class EtcdPlugin:
    """The entry point's object."""

    def discovery(self, uri: str) -> EtcdDiscovery:
        """A discovery over the prefix that the URI names."""
        return EtcdDiscovery(parse(uri))

    def announcer(self, uri: str) -> EtcdAnnouncer:
        """An announcer below the prefix that the URI names."""
        return EtcdAnnouncer(parse(uri))


plugin = EtcdPlugin()
