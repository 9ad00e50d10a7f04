"""Deletes that a segment is owed: acknowledged while its ids could not be read, as ids in a file beside it.

``mishards_owed`` has the format of a raw file, its payload the ids as int64. Whoever reads the segment's deleted rows
adds the rows of these ids, so that a segment which is restored from a copy does not bring deleted rows back. A row that
was inserted after its id was deleted lies in another segment.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from milvus_node.errors import SegmentMissing
from milvus_node.storage import raw_segment
from milvus_node.storage.file_io import storage_errors
from milvus_node.storage.names import OWED
from milvus_node.storage.staging import Staging

Ids = npt.NDArray[np.int64]


def read(folder: Path) -> Ids:
    """The ids, sorted; none where nothing is owed."""
    try:
        return raw_segment.read_payload(folder / OWED).view(np.int64)
    except SegmentMissing:
        return np.empty(0, np.int64)


def add(folder: Path, ids: Ids) -> None:
    """Owe these too."""
    both = np.union1d(read(folder), ids)
    with Staging(folder) as staging:
        staging.write(OWED, raw_segment.framed(both))
        staging.publish()


def settle(folder: Path) -> None:
    """Owe nothing any more."""
    path = folder / OWED
    with storage_errors(path):
        path.unlink(missing_ok=True)
