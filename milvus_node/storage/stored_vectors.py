"""The vectors of a raw segment, read in parts, so that what is larger than memory can be worked through."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from milvus_node.storage import checksums, raw_segment

Element = TypeVar("Element", np.float32, np.uint8)


@dataclass(frozen=True, slots=True)
class StoredVectors(Generic[Element]):
    """The rows of a ``.rv`` file of ``shape`` (rows, width); a slice of it is read from the file anew each time."""

    path: Path
    dtype: np.dtype[Element]
    shape: tuple[int, int]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> npt.NDArray[Element]:
        """Read consecutive rows, ``dtype[m, width]``; checks sizes, no checksum. Raises as ``read_payload_rows``."""
        numbers = np.arange(*rows.indices(len(self)))
        payload = raw_segment.read_payload_rows(self.path, numbers, self.shape[1] * self.dtype.itemsize, len(self))
        return payload.view(self.dtype)

    def verify(self) -> None:
        """Read the whole file and compare it with its checksum, where it has one.

        Raises:
            SegmentMissing, SegmentDamaged, StorageError: as ``read_payload``.
        """
        raw_segment.payload_bytes(self.path)
        checksums.verify(self.path, checksums.checksum_of_file(self.path))
