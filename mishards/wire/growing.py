"""What our writable node says of its growing rows: those that are logged and acknowledged, and in no segment yet.

Asked with ``GROWING_KEY``, it answers ``Search`` over its growing rows alone, and puts a *cut* before the reply: where
segments end and growing rows begin. The cut is one field of ``TopKQueryResult`` that the protocol does not have, so a
client that met one would pass over it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mishards.errors import MalformedReply
from mishards.wire.scan import Truncated, read_varint, varint_bytes

_TAG = varint_bytes(1000 << 3 | 2)
_NUMBERS = struct.Struct("<QQQ")


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Which changes a view of the growing rows holds, as positions in the writable node's log.

    The segments of a catalog in which the collection is flushed up to ``position`` and the rows of this view hold every
    acknowledged row once. No position names a moment: two catalogs with the same one hold the same rows.
    """

    revision: int
    """Of the catalog that the node knew: what is older may lack partitions, or a whole collection."""
    position: int
    """Rows and deletes up to here are in segments, and are not in this view."""
    head: int
    """The newest row or delete of this view; ``position`` where there is none."""
    deleted: NDArray[np.int64]
    """Ids that rows in segments may have although they are deleted; sorted and unique."""


def with_cut(cut: Cut, reply: bytes) -> bytes:
    """Put a cut before an encoded ``TopKQueryResult``."""
    body = _NUMBERS.pack(cut.revision, cut.position, cut.head) + cut.deleted.astype("<i8").tobytes()
    return b"".join((_TAG, varint_bytes(len(body)), body, reply))


def split_cut(reply: bytes) -> tuple[Cut, bytes]:
    """Take a reply apart into its cut and the ``TopKQueryResult``.

    Raises:
        MalformedReply: there is no cut before it.
    """
    if not reply.startswith(_TAG):
        raise MalformedReply("a search of growing rows came back without saying what it covers")
    try:
        size, start = read_varint(reply, len(_TAG), len(reply))
    except Truncated as error:
        raise MalformedReply(f"a search of growing rows came back torn: {error}") from error
    body = reply[start : start + size]
    if len(body) != size or size < _NUMBERS.size or (size - _NUMBERS.size) % 8:
        raise MalformedReply(f"a search of growing rows came back with a cut of {len(body)} bytes, not {size}")
    revision, position, head = _NUMBERS.unpack_from(body)
    deleted = np.frombuffer(body, "<i8", offset=_NUMBERS.size)
    return Cut(revision, position, head, deleted), reply[start + size :]
