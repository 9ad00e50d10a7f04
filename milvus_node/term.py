"""One term of leading: everything that a writable node has only while it leads.

A term begins with a claim on the catalog, which ends what its predecessors may write, and with their logs, which it
replays. It ends in order, with everything flushed, or is dropped where it stands: then nothing of it is touched any
more, because another node may be at work; what threads of it still try the catalog refuses.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

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
from milvus_node.loops import Loop
from milvus_node.metrics.events import Events
from milvus_node.service.definitions import WriteDefinitions
from milvus_node.service.growing import GrowingCalls
from milvus_node.service.routes import LeaderCall, LeaderCalls
from milvus_node.service.searches import SearchCalls
from milvus_node.service.writes import WriteCalls
from milvus_node.storage.layout import StorageLayout
from milvus_node.storage.sweep import FileKey, sweep
from mishards.catalog.definitions import DefinitionWriter
from mishards.catalog.engine import open_engine
from mishards.catalog.files import FileWriter
from mishards.catalog.transaction import WritableCatalog
from mishards.deadline import Deadline
from mishards.election.api import Leadership, clock
from mishards.errors import DeadlineExceeded, LeadershipLost, MishardsError

log = logging.getLogger(__name__)

_MILVUS_LOG = "mxlog.meta"
"""A file that a Milvus 1.x server always has beside its log."""

_ORPHAN_GRACE_S = 0.0
"""When a term begins nobody else writes segments that will ever be shown: what no row names is garbage."""

_IDLE_S = 3
"""A change that rests for so long is rolled back by the database: its process is stopped, and a successor waits."""

_PROOF_S = 5.0
"""How long a renewal that is late is waited for."""

_DROP_S = 1.0


@dataclass(frozen=True)
class Ground:
    """What a term stands on and what outlives it. ``buffer_bytes`` is asked when the term begins."""

    options: NodeOptions
    layout: StorageLayout
    catalog: NodeCatalog
    searches: SearchCalls
    events: Events
    buffer_bytes: Callable[[], int]


class Term:
    """The write path of a leading node; opened by the constructor, ended by ``finish`` or ``drop``."""

    def __init__(self, ground: Ground, leadership: Leadership) -> None:
        """Claim the catalog, replay what was acknowledged before, begin the background work.

        Raises:
            LeadershipLost: it took too long, or another node was quicker.
            CatalogError, StorageError: the node cannot lead here.
        """
        self._leadership = leadership
        self._ground = ground
        self._writable = WritableCatalog(open_engine(ground.options.metadata_uri, idle_s=_IDLE_S))
        self._wal: WriteAheadLog | None = None
        self._maintenance: Maintenance | None = None
        try:
            self.epoch = self._writable.claim()
            self.prove()
            self._open()
            self.prove()
        except BaseException:
            self.drop()
            raise

    def _open(self) -> None:
        ground, options = self._ground, self._ground.options
        if (options.storage.path / "wal" / _MILVUS_LOG).exists():
            log.warning(
                "%s holds the log of a Milvus server: rows that it had not flushed when it stopped are not served",
                options.storage.path / "wal",
            )
        snapshot = ground.catalog.refreshed()
        wal_options = WalOptions(
            above_lsn=flushed_lsn(snapshot),
            ignore_damage=options.wal.recovery_error_ignore,
            synced=ground.events.synced,
        )
        self._wal = WriteAheadLog.open_term(options.wal_path, self.epoch, wal_options)
        parts = self.parts = WriteParts(
            ground.catalog,
            DefinitionWriter(self._writable),
            FileWriter(self._writable),
            ground.layout,
            self._wal,
            IdGenerator(epoch=self.epoch),
            Tasks(ground.events.worked),
            self.epoch,
            self.prove,
        )
        flusher = self._flusher = Flusher(parts)
        rewriter, builder = Rewriter(parts), IndexBuilder(parts)
        collections = CollectionWriter(parts, flusher, rewriter, builder)
        recover(parts, flusher, ground.buffer_bytes())
        self._sweep()
        self._maintenance = Maintenance(parts, flusher, collections, builder, options.maintenance)
        self._maintenance.start()
        self._rows = RowWriter(parts, flusher, ground.buffer_bytes())
        self.calls: Mapping[str, LeaderCall] = LeaderCalls(
            WriteDefinitions(ground.catalog, collections), WriteCalls(ground.catalog, self._rows, flusher, rewriter)
        ).by_method()
        self.growing = GrowingCalls(ground.catalog, parts.buffer, ground.searches)

    @property
    def loops(self) -> Sequence[Loop]:
        """The background work."""
        return self._maintenance.loops if self._maintenance else ()

    @property
    def is_proven(self) -> bool:
        """Can certainly nobody else lead at this moment, as far as this node knows?"""
        return not self._writable.is_fenced and clock() < self._leadership.proven_until

    @property
    def is_fenced(self) -> bool:
        """Has the catalog refused a change because another node has claimed it?"""
        return self._writable.is_fenced

    def prove(self) -> None:
        """Raise LeadershipLost unless nobody else can lead at this moment; waits where renewals are late.

        Whoever gets an answer after this has what was on disk before it: a successor, which begins later, replays it.
        """
        if self._writable.is_fenced or not self._leadership.wait_proven(_PROOF_S):
            raise LeadershipLost(
                "this node leads no more, or cannot prove it; what the call was to change may be done or not"
            )

    def resize_buffer(self, size: int) -> None:
        """Flush the insert buffer when it holds more than ``size`` bytes."""
        self._rows.buffer_bytes = size

    def finish(self) -> None:
        """End in order: stop the background work, flush; what cannot be flushed stays in the log."""
        if self._maintenance is not None:
            self._maintenance.stop()
        try:
            self._flusher.finish()
        except MishardsError as error:
            log.warning("left in the log for the next start: %s", error)
        if self._wal is not None:
            self._wal.close()
        self._writable.close()

    def drop(self) -> None:
        """End where it stands: nothing is flushed, nothing removed, nobody waited for."""
        for loop in self.loops:
            loop.stop(0.0)
        if self._wal is not None:
            with suppress(DeadlineExceeded):
                self._wal.close(Deadline.after(_DROP_S))
        self._writable.close()

    @property
    def is_idle(self) -> bool:
        """Has its background work ended?"""
        return self._maintenance is None or not self._maintenance.is_running

    def _sweep(self) -> None:
        def names() -> set[FileKey]:
            catalog = self._ground.catalog
            retired = self.parts.files.retired(0)
            named = {(f.table_id, f.segment_id, f.file_id) for f in retired}
            for segment in catalog.refreshed().segments_by_file.values():
                named.add((segment.table_id, segment.segment_id, segment.file.file_id))
            self._writable.check()  # until here nobody else began to write, so what was listed before is ours to judge
            return named

        swept = sweep(self._ground.layout, names, lambda *_: False, now=time.time(), grace_s=_ORPHAN_GRACE_S)
        if swept.folders or swept.files:
            log.info("removed orphans folders=%d files=%d bytes=%d", swept.folders, swept.files, swept.size)
