"""Options → a running node; the only place where the node's concrete parts meet."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from milvus_node.announce import Activity
from milvus_node.candidacy import Candidacy
from milvus_node.catalog import NodeCatalog
from milvus_node.config import NodeOptions
from milvus_node.metrics import state as metrics
from milvus_node.metrics.events import Events
from milvus_node.roles import WRITES, Role
from milvus_node.search.cache import SegmentCache
from milvus_node.search.preload import PreloadAtStart
from milvus_node.search.searcher import Searcher
from milvus_node.search.segment import LoadedSegment, load_segment
from milvus_node.service import stages
from milvus_node.service.commands import Commands
from milvus_node.service.dispatch import Dispatcher, RunningCalls
from milvus_node.service.pools import Pool, away
from milvus_node.service.routes import Pools, ReadCalls, read_routes, write_routes
from milvus_node.service.rows import RowCalls
from milvus_node.service.search_by_id import SearchByIdCalls
from milvus_node.service.searches import SearchCalls
from milvus_node.settings.keys import size_of, size_text
from milvus_node.settings.options import sizes_of, values_of, with_saved
from milvus_node.settings.store import Settings, saved, this_machine
from milvus_node.storage.file_io import make_folder, storage_errors
from milvus_node.storage.layout import StorageLayout
from milvus_node.storage.lock import FolderLock
from milvus_node.term import Ground, Term
from mishards.catalog.cache import SnapshotCache
from mishards.catalog.engine import open_engine, where
from mishards.catalog.reader import CatalogReader
from mishards.catalog.snapshot import Collection, Segment
from mishards.catalog.transaction import WritableCatalog
from mishards.election.api import Candidate, ElectionOptions
from mishards.election.select import NONE, elector_for
from mishards.logs.calls import AccessLog
from mishards.metrics.exposition import registry_of
from mishards.security.guard import Guard

log = logging.getLogger(__name__)

_PROBES = frozenset({"Cmd"})
"""What every router asks again and again."""


class Node:
    """One node's parts. ``open`` and ``close`` block; the dispatcher belongs to one event loop."""

    def __init__(self, options: NodeOptions) -> None:
        """Read what ``set_config`` changed before; nothing else is opened yet."""
        self._settings_folder = options.own_path / "conf" if options.role is Role.WRITABLE else None
        changed = saved(self._settings_folder) if self._settings_folder else {}
        options = self._options = with_saved(options, changed)
        self._layout = StorageLayout(options.storage.path, options.storage.bloom_filters)
        engine = open_engine(options.metadata_uri)
        self._reader = CatalogReader(engine)
        self._settings = Settings(
            {**values_of(options, where(engine)), **changed},
            this_machine(lambda: frozenset(self._catalog.known().collections)),
            self._settings_folder,
            self._apply,
        )
        self._snapshots = SnapshotCache(self._reader.read)
        self._catalog = NodeCatalog(self._snapshots, is_writer=False)
        self.cache = SegmentCache(self._loaded, options.cache.cache_size_bytes, away)
        self.preload = PreloadAtStart(self.cache, self._catalog.refreshed, options.cache.preload_collection)
        calls = options.calls
        self._pools = Pools(
            search=Pool("search", calls.search_threads, calls.max_waiting),
            write=Pool("write", calls.write_threads, calls.max_waiting),
            definition=Pool("definition", calls.definition_threads, calls.max_waiting),
            info=Pool("info", calls.info_threads, calls.max_waiting),
        )
        self._running = RunningCalls()
        self.guard = Guard(options.security)
        self.activity = Activity(lambda: bool(self._running.names(without="Cmd")))
        self.dropped_spans: Callable[[], int] = lambda: 0
        """How many spans of traces were lost."""
        self._events, access_log = Events(), AccessLog(options.log, _PROBES)
        self._ended = (access_log.ended, self._events.ended, self.activity.ended)
        self.metrics = registry_of([self._events, metrics.NodeState(self._watched(access_log))])
        self._locks: list[FolderLock] = []
        self._candidacy: Candidacy | None = None
        self._buffer_bytes = options.cache.insert_buffer_size_bytes

    def open(self) -> Dispatcher:
        """Take the folder and, where this node is elected, recover and begin the background work.

        Returns:
            What serves calls, once a writable node leads or knows that it stands by.

        Raises:
            StartError, PluginError, CatalogError, StorageError: the node cannot run here.
        """
        reads = self._read_calls()
        routes = read_routes(reads, self._pools)
        if self._options.role is Role.READONLY:
            self._snapshots.start()
            dispatcher = Dispatcher(routes, self._running, WRITES, self._ended, self.guard)
        else:
            candidacy = self._candidacy = self._stand(reads.searches)
            candidacy.start()
            routes |= write_routes(candidacy.serve, candidacy.search, reads.searches.search_again, self._pools)
            dispatcher = Dispatcher(routes, self._running, ended=self._ended, guard=self.guard)
        self.preload.run()
        return dispatcher

    @property
    def _term(self) -> Term | None:
        return None if self._candidacy is None else self._candidacy.term

    def warnings(self) -> list[str]:
        """What is wrong although calls are served."""
        candidacy, found = self._candidacy, []
        if candidacy is not None and candidacy.term is None:
            found.append(f"this node stands by; who leads: {candidacy.leader or 'not known'}")
        return [*found, *self._layout.damaged.texts]

    def _watched(self, access_log: AccessLog) -> metrics.Parts:
        return metrics.Parts(
            self._options.role.value,
            self.cache,
            self._snapshots,
            lambda: self._pools.admitted_each,
            lambda: term.parts if (term := self._term) else None,
            lambda: term.loops if (term := self._term) else (),
            lambda: access_log.skipped,
            leader_epoch=lambda: term.epoch if (term := self._term) else 0,
            dropped_spans=lambda: self.dropped_spans(),
        )

    def _loaded(self, collection: Collection, segment: Segment) -> LoadedSegment:
        began = time.monotonic()
        loaded = load_segment(self._layout, collection, segment)
        seconds = time.monotonic() - began
        self._events.loaded(seconds)
        stages.loaded(segment, seconds)
        return loaded

    def _stand(self, searches: SearchCalls) -> Candidacy:
        options, election = self._options, self._options.election
        candidate = Candidate(options.name or options.address, options.announce.reachable(options.address))
        elector = elector_for(
            election.uri,
            options.metadata_uri,
            candidate,
            ElectionOptions(election.lease_s, min(election.renew_s, election.lease_s / 2), election.same_host),
        )
        with storage_errors(options.storage.path):
            make_folder(options.storage.path)
            make_folder(options.wal_path)
        for path in (self._layout.lock_path, options.wal_path / "lock"):
            self._locks.append(FolderLock.acquire(path, shared=election.uri != NONE))
        writable = WritableCatalog(open_engine(options.metadata_uri))
        try:
            writable.prepare()
        finally:
            writable.close()
        self._snapshots.start()
        ground = Ground(options, self._layout, self._catalog, searches, self._events, lambda: self._buffer_bytes)
        return Candidacy(elector, lambda leadership: Term(ground, leadership), searches, self._now_leads)

    def _now_leads(self, leads: bool) -> None:
        self._catalog.is_writer = leads

    def _leading(self) -> dict[str, object]:
        term, candidacy = self._term, self._candidacy
        return {
            "leading": term is not None,
            "epoch": term.epoch if term else 0,
            "leader": candidacy.leader if candidacy else "",
        }

    def _memory(self) -> dict[str, int]:
        usage = self.cache.usage
        return {
            "cached_bytes": usage.nbytes,
            "capacity_bytes": self.cache.capacity_bytes,
            "segments": usage.segments,
        }

    def reconfigure(self, options: NodeOptions) -> None:
        """Go by other sizes from now on; what ``set_config`` has changed stays."""
        changed = saved(self._settings_folder) if self._settings_folder else {}
        before, self._options = sizes_of(self._options), with_saved(options, changed)
        for name, size in sizes_of(self._options).items():
            if size != before[name]:
                self._settings.became(name, size_text(size))
                self._resize(name, size)

    def _apply(self, name: str, value: str) -> None:
        """Act on a setting that needs no restart."""
        self._resize(name, size_of(value) or 0)

    def _resize(self, name: str, size: int) -> None:
        if name == "cache.cache_size":
            self.cache.resize(size)
        elif name == "cache.insert_buffer_size":
            self._buffer_bytes = size
            if (term := self._term) is not None:
                term.resize_buffer(size)

    def _read_calls(self) -> ReadCalls:
        catalog = self._catalog
        searcher = Searcher(self.cache)
        rows = RowCalls(catalog, self._layout)
        leading = self._leading if self._options.role is Role.WRITABLE else None
        return ReadCalls(
            catalog,
            SearchCalls(catalog, searcher, self.cache, self._layout.damaged.forget),
            SearchByIdCalls(catalog, rows, searcher),
            rows,
            Commands(
                self._options.role.value,
                lambda: self._running.names(without="Cmd"),
                self._memory,
                self._settings,
                self.activity.warmed.set,
                leading,
            ),
        )

    def hand_over(self) -> None:
        """Lead no more: finish the writes under way, flush, and let another node lead. Reads go on."""
        if self._candidacy is not None:
            self._candidacy.stop(self._options.drain_s)

    def close(self) -> None:
        """Flush what is buffered, stop the background work, free the folder; after the server has stopped.

        What cannot be flushed now stays in the log for the next start.
        """
        self._pools.close()
        if self._candidacy is not None:
            self._candidacy.stop()
        self._snapshots.close()
        self._reader.close()
        if self._is_idle():
            for lock in self._locks:
                lock.release()
        elif self._locks:  # a build or a merge that outlives its caller; the kernel frees the lock
            log.warning("the folder stays locked until the work under way ends with this process")

    def _is_idle(self) -> bool:
        return not self._pools.admitted and (self._candidacy is None or self._candidacy.is_idle)
