"""What the write path stands on; made once by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from milvus_node.catalog import NodeCatalog
from milvus_node.ids import IdGenerator
from milvus_node.ingest.buffer import InsertBuffer
from milvus_node.ingest.locks import CollectionLocks
from milvus_node.ingest.tasks import Tasks
from milvus_node.ingest.wal import WriteAheadLog
from milvus_node.storage.layout import StorageLayout
from mishards.catalog.definitions import DefinitionWriter
from mishards.catalog.files import FileWriter


@dataclass(frozen=True)
class WriteParts:
    """The parts that the steps of the write path share."""

    catalog: NodeCatalog
    definitions: DefinitionWriter
    files: FileWriter
    layout: StorageLayout
    wal: WriteAheadLog
    ids: IdGenerator
    tasks: Tasks = field(default_factory=Tasks)
    epoch: int = 0
    prove: Callable[[], object] = lambda: None
    """Raises LeadershipLost unless nobody else can lead at this moment."""
    buffer: InsertBuffer = field(default_factory=InsertBuffer)
    locks: CollectionLocks = field(default_factory=CollectionLocks)

    def tombstones_epoch(self, segment_id: str) -> int:
        """Under which epoch to keep tombstones of a segment: 0 where this writer made it, so that no other has it."""
        return 0 if self.ids.gave(segment_id) else self.epoch
