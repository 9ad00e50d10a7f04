"""Options → a running node; the only place where the node's concrete parts meet."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from milvus_node.announce import Activity
from milvus_node.catalog import NodeCatalog
from milvus_node.config import NodeOptions
from milvus_node.ids import IdGenerator
from milvus_node.ingest.build import IndexBuilder
from milvus_node.ingest.collections import CollectionWriter
from milvus_node.ingest.flush import Flusher
from milvus_node.ingest.maintenance import Maintenance
from milvus_node.ingest.parts import WriteParts
from milvus_node.ingest.recovery import flushed_lsn, recover
from milvus_node.ingest.rewrite import Rewriter
from milvus_node.ingest.rows import RowWriter
from milvus_node.ingest.tasks import Tasks
from milvus_node.ingest.wal import WalOptions, WriteAheadLog
from milvus_node.metrics import state as metrics
from milvus_node.metrics.events import Events
from milvus_node.roles import WRITES, Role
from milvus_node.search.cache import SegmentCache
from milvus_node.search.preload import preload_at_start
from milvus_node.search.searcher import Searcher
from milvus_node.search.segment import LoadedSegment, load_segment
from milvus_node.service import stages
from milvus_node.service.commands import Commands
from milvus_node.service.definitions import WriteDefinitions
from milvus_node.service.dispatch import Dispatcher, Route, RunningCalls
from milvus_node.service.growing import GrowingCalls
from milvus_node.service.pools import Pool, away
from milvus_node.service.routes import Pools, ReadCalls, read_routes, write_routes
from milvus_node.service.rows import RowCalls
from milvus_node.service.search_by_id import SearchByIdCalls
from milvus_node.service.searches import SearchCalls
from milvus_node.service.writes import WriteCalls
from milvus_node.settings.keys import size_of
from milvus_node.settings.options import values_of, with_saved
from milvus_node.settings.store import Settings, saved, this_machine
from milvus_node.storage.layout import StorageLayout
from milvus_node.storage.lock import FolderLock
from milvus_node.storage.sweep import sweep
from mishards.catalog.cache import SnapshotCache
from mishards.catalog.definitions import DefinitionWriter
from mishards.catalog.engine import open_engine, where
from mishards.catalog.files import FileWriter
from mishards.catalog.reader import CatalogReader
from mishards.catalog.snapshot import Collection, Segment
from mishards.catalog.transaction import WritableCatalog
from mishards.errors import MishardsError
from mishards.logs.calls import AccessLog
from mishards.metrics.exposition import registry_of

log = logging.getLogger(__name__)

_MILVUS_LOG = "mxlog.meta"
"""A file that a Milvus 1.x server always has beside its log."""

_PROBES = frozenset({"Cmd"})
"""What every router asks again and again."""

_ORPHAN_GRACE_S = 0.0
"""At its start the writable node is alone with the folder: what the catalog does not name is garbage."""


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
        self._catalog = NodeCatalog(self._snapshots, is_writer=options.role is Role.WRITABLE)
        self.cache = SegmentCache(self._loaded, options.cache.cache_size_bytes, away)
        calls = options.calls
        self._pools = Pools(
            search=Pool("search", calls.search_threads, calls.max_waiting),
            write=Pool("write", calls.write_threads, calls.max_waiting),
            definition=Pool("definition", calls.definition_threads, calls.max_waiting),
            info=Pool("info", calls.info_threads, calls.max_waiting),
        )
        self._running = RunningCalls()
        self.activity = Activity(lambda: bool(self._running.names(without="Cmd")))
        self.leader_epoch: Callable[[], int] = lambda: 0
        """The epoch in which this node may write; 0 where none is elected."""
        self.dropped_spans: Callable[[], int] = lambda: 0
        """How many spans of traces were lost."""
        self._events, access_log = Events(), AccessLog(options.log, _PROBES)
        self._ended = (access_log.ended, self._events.ended, self.activity.ended)
        self.metrics = registry_of([self._events, metrics.NodeState(self._watched(access_log))])
        self._lock: FolderLock | None = None
        self._writable: WritableCatalog | None = None
        self._parts: WriteParts | None = None
        self._flusher: Flusher | None = None
        self._rows: RowWriter | None = None
        self._maintenance: Maintenance | None = None

    def open(self) -> Dispatcher:
        """Take the folder, recover, begin the background work; return what serves calls.

        Raises:
            StartError, CatalogError, StorageError: the node cannot run here.
        """
        reads = self._read_calls()
        routes = read_routes(reads, self._pools)
        if self._options.role is Role.READONLY:
            self._snapshots.start()
            dispatcher = Dispatcher(routes, self._running, WRITES, self._ended)
        else:
            routes = {**routes, **self._open_for_writing(reads.searches)}
            dispatcher = Dispatcher(routes, self._running, ended=self._ended)
        preload_at_start(self.cache, self._catalog.refreshed, self._options.cache.preload_collection)
        return dispatcher

    def warnings(self) -> list[str]:
        """What is wrong although calls are served."""
        return self._layout.damaged.texts

    def _watched(self, access_log: AccessLog) -> metrics.Parts:
        return metrics.Parts(
            self._options.role.value,
            self.cache,
            self._snapshots,
            lambda: self._pools.admitted_each,
            lambda: self._parts,
            lambda: self._maintenance.loops if self._maintenance else (),
            lambda: access_log.skipped,
            leader_epoch=lambda: self.leader_epoch(),
            dropped_spans=lambda: self.dropped_spans(),
        )

    def _loaded(self, collection: Collection, segment: Segment) -> LoadedSegment:
        began = time.monotonic()
        loaded = load_segment(self._layout, collection, segment)
        seconds = time.monotonic() - began
        self._events.loaded(seconds)
        stages.loaded(segment, seconds)
        return loaded

    def _open_for_writing(self, searches: SearchCalls) -> Mapping[str, Route]:
        options = self._options
        options.storage.path.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock.acquire(self._layout.lock_path)
        writable = self._writable = WritableCatalog(open_engine(options.metadata_uri))
        writable.initialise()
        self._snapshots.start()
        snapshot = self._catalog.refreshed()
        if (options.storage.path / "wal" / _MILVUS_LOG).exists():
            log.warning(
                "%s holds the log of a Milvus server: rows that it had not flushed when it stopped are not served",
                options.storage.path / "wal",
            )
        wal = WriteAheadLog.open(
            options.wal_path,
            WalOptions(
                above_lsn=flushed_lsn(snapshot),
                ignore_damage=options.wal.recovery_error_ignore,
                synced=self._events.synced,
            ),
        )
        parts = self._parts = WriteParts(
            self._catalog,
            DefinitionWriter(writable),
            FileWriter(writable),
            self._layout,
            wal,
            IdGenerator(),
            Tasks(self._events.worked),
        )
        flusher = self._flusher = Flusher(parts)
        rewriter, builder = Rewriter(parts), IndexBuilder(parts)
        collections = CollectionWriter(parts, flusher, rewriter, builder)
        self._maintenance = Maintenance(parts, flusher, collections, builder, options.maintenance)
        recover(parts, flusher, options.cache.insert_buffer_size_bytes)
        self._sweep()
        self._maintenance.start()
        rows = self._rows = RowWriter(parts, flusher, options.cache.insert_buffer_size_bytes)
        return write_routes(
            WriteDefinitions(self._catalog, collections),
            WriteCalls(self._catalog, rows, flusher, rewriter),
            GrowingCalls(self._catalog, parts.buffer, searches),
            self._pools,
        )

    def _apply(self, name: str, value: str) -> None:
        """Act on a setting that needs no restart."""
        size = size_of(value) or 0
        if name == "cache.cache_size":
            self.cache.resize(size)
        elif name == "cache.insert_buffer_size" and self._rows is not None:
            self._rows.buffer_bytes = size

    def _sweep(self) -> None:
        retired = self._parts.files.retired(0) if self._parts else []
        named = {(f.table_id, f.segment_id, f.file_id) for f in retired}
        for segment in self._catalog.refreshed().segments_by_file.values():
            named.add((segment.table_id, segment.segment_id, segment.file.file_id))
        swept = sweep(self._layout, named, lambda *_: False, now=time.time(), grace_s=_ORPHAN_GRACE_S)
        if swept.folders or swept.files:
            log.info("removed orphans folders=%d files=%d bytes=%d", swept.folders, swept.files, swept.size)

    def _read_calls(self) -> ReadCalls:
        catalog = self._catalog
        searcher = Searcher(self.cache)
        rows = RowCalls(catalog, self._layout)
        return ReadCalls(
            catalog,
            SearchCalls(catalog, searcher, self.cache, self._layout.damaged.forget),
            SearchByIdCalls(catalog, rows, searcher),
            rows,
            Commands(
                self._options.role.value,
                lambda: self._running.names(without="Cmd"),
                self._settings,
                self.activity.warmed.set,
            ),
        )

    def close(self) -> None:
        """Flush what is buffered, stop the background work, free the folder; after the server has stopped.

        What cannot be flushed now stays in the log for the next start.
        """
        self._pools.close()
        if self._maintenance is not None:
            self._maintenance.stop()
        if self._flusher is not None:
            try:
                self._flusher.finish()
            except MishardsError as error:
                log.warning("left in the log for the next start: %s", error)
        if self._parts is not None:
            self._parts.wal.close()
        self._snapshots.close()
        self._reader.close()
        if self._writable is not None:
            self._writable.close()
        if self._lock is None:
            return
        if self._is_idle():
            self._lock.release()
        else:  # a build or a merge that outlives its caller must not meet another writer; the kernel frees the lock
            log.warning("the folder stays locked until the work under way ends with this process")

    def _is_idle(self) -> bool:
        return not self._pools.admitted and not (self._maintenance and self._maintenance.is_running)
