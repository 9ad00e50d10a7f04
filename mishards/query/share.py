"""A node's share of a search: segments that it is asked for, and the request that asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mishards.catalog.snapshot import Segment
from mishards.cluster.node import Node
from mishards.wire.search import file_ids_field, in_files


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """Segments of one node. Made once for many searches where nothing changes."""

    node: Node
    segments: tuple[Segment, ...]
    files: bytes
    """Their file ids, encoded."""

    @classmethod
    def of(cls, node: Node, segments: Sequence[Segment]) -> Share:
        """The share of these segments, of which there must be one at least."""
        return cls(node, tuple(segments), file_ids_field([segment.file.id for segment in segments]))

    def around(self, param: bytes) -> bytes:
        """The encoded ``SearchInFilesParam`` around an encoded ``SearchParam``."""
        return in_files(self.files, param)
