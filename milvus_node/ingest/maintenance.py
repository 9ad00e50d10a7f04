"""What the writable node does by itself: flush, merge, build, clean up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from milvus_node.errors import StorageError
from milvus_node.ingest.build import IndexBuilder
from milvus_node.ingest.collections import CollectionWriter
from milvus_node.ingest.flush import Flusher
from milvus_node.ingest.parts import WriteParts
from milvus_node.loops import Loop
from mishards.catalog.records import FileRecord
from mishards.errors import BuildFailed, CollectionNotFound, MishardsError

log = logging.getLogger(__name__)

_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class MaintenanceOptions:
    """How often, in seconds."""

    auto_flush_interval_s: float = 1.0
    """0 turns automatic flushing off."""
    merge_interval_s: float = 1.0
    cleanup_interval_s: float = 2.0
    file_cleanup_timeout_s: float = 10.0
    """How long superseded files live on for readers that still use them."""


class Maintenance:
    """Owns the background loops of the write path."""

    def __init__(
        self,
        parts: WriteParts,
        flusher: Flusher,
        collections: CollectionWriter,
        builder: IndexBuilder,
        options: MaintenanceOptions,
    ) -> None:
        self._parts = parts
        self._flusher = flusher
        self._collections = collections
        self._builder = builder
        self._options = options
        self._unbuildable: set[tuple[str, int, str]] = set()
        """Segments and the definitions that do not fit them; only CreateIndex tries those again."""
        loops = [
            Loop("merge", options.merge_interval_s, self.merge),
            Loop("index-build", options.merge_interval_s, self.build),
            Loop("cleanup", options.cleanup_interval_s, self.clean_up),
        ]
        if options.auto_flush_interval_s > 0:
            loops.append(Loop("auto-flush", options.auto_flush_interval_s, flusher.flush_all))
        self.loops = tuple(loops)

    def start(self) -> None:
        """Begin; ``stop`` ends."""
        for loop in self.loops:
            loop.start()

    @property
    def is_running(self) -> bool:
        """Is any loop still at work?"""
        return any(loop.is_running for loop in self.loops)

    def stop(self) -> None:
        """End every loop after the step under way."""
        for wait_s in (0.0, _STOP_S):
            for loop in self.loops:
                loop.stop(wait_s)

    def merge(self) -> None:
        """Merge small segments of every collection that has no index work under way."""
        self._each(self._merge_one)

    def _merge_one(self, name: str) -> None:
        with self._parts.locks.definition_if_free(name) as free:
            if free:
                self._collections.merge_small(name)

    def build(self) -> None:
        """Build what waits, unless a CreateIndex is at it."""
        self._each(self._build_one)

    def _build_one(self, name: str) -> None:
        with self._parts.locks.definition_if_free(name) as free:
            if free:
                self._build_waiting(name)

    def _build_waiting(self, name: str) -> None:
        definition = self._parts.catalog.known().collection(name).table
        for segment in self._builder.waiting(name):
            key = segment.segment_id, definition.engine_type, definition.index_params
            folder = self._parts.layout.segment(segment.table_id, segment.segment_id)
            if key in self._unbuildable or self._parts.layout.damaged.has(folder.path):
                continue
            try:
                self._builder.build(name, segment)
            except BuildFailed:
                self._unbuildable.add(key)
                raise

    def _each(self, step: Callable[[str], None]) -> None:
        """Take the step for every collection; one that fails keeps no other back."""
        failed: MishardsError | None = None
        for name in self._parts.catalog.known().collections:
            try:
                step(name)
            except CollectionNotFound:
                continue  # dropped meanwhile
            except MishardsError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def clean_up(self) -> None:
        """Remove superseded and dropped files, then their rows, once they are older than the cleanup delay."""
        retired = self._parts.files.retired(self._options.file_cleanup_timeout_s)
        if not retired:
            return
        live = {
            (segment.table_id, segment.segment_id)
            for collection in self._parts.catalog.refreshed().collections.values()
            for segment in collection.segments
        }
        self._parts.files.forget(
            [file for file in retired if self._remove(file, keep_segment=(file.table_id, file.segment_id) in live)]
        )

    def _remove(self, file: FileRecord, *, keep_segment: bool) -> bool:
        """Remove a file, with its segment unless that lives; False where it is still there."""
        try:
            folder = self._parts.layout.segment(file.table_id, file.segment_id)
            if not keep_segment:
                folder.remove()
            elif file.file_id != file.segment_id:
                folder.remove_file(file.file_id)
        except StorageError as error:
            log.warning("superseded file stays for now: %s", error)
            return False
        return True
