"""The encoded ids of several answers, moved and looked up by slot without decoding them all.

A slot is a position in the flat form of [parts, rows, width of the widest part], the layout of
``mishards.topk.select``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mishards.errors import MalformedReply
from mishards.topk import NO_ID, Ids, Slots
from mishards.wire.results import PackedResult
from mishards.wire.varints import MAX_BYTES, decode_varints, encode_varints

PLACEHOLDER = encode_varints(np.array([NO_ID], np.int64))
"""``NO_ID`` on the wire; no other id contains these bytes."""


class FixedIds:
    """Ids that all take equally many bytes, in parts of equal width; none of them is negative."""

    def __init__(self, packed: NDArray[np.uint8], size: int) -> None:
        self._cells = packed.view(f"V{size}")

    @classmethod
    def of(cls, parts: Sequence[PackedResult]) -> FixedIds | None:
        """Join the ids of ``parts``; None where they are not of this kind."""
        size, rest = divmod(len(parts[0].ids), len(parts[0].distances))
        if rest or size >= MAX_BYTES or len({(part.width, len(part.ids)) for part in parts}) > 1:
            return None
        packed = np.frombuffer(b"".join([part.ids.data for part in parts]), np.uint8)
        # there are as many ends as ids: when one is at every size-th byte, there is none elsewhere
        return cls(packed, size) if (packed[size - 1 :: size] < 0x80).all() else None

    def encoded(self, slots: Slots) -> bytes:
        """Return the packed varints of the ids at ``slots``."""
        return self._cells.take(slots.ravel()).tobytes()

    def decoded(self, slots: Slots) -> Ids:
        """Return the ids at ``slots``, int64 of the same shape."""
        return decode_varints(np.frombuffer(self.encoded(slots), np.uint8)).reshape(slots.shape)


class RaggedIds:
    """Ids of any size in parts of any width. A slot behind the end of a narrower part holds a placeholder.

    Raises:
        MalformedReply: an id is longer than an int64 can be.
    """

    def __init__(self, parts: Sequence[PackedResult], width: int) -> None:
        self._shape = (len(parts), parts[0].row_num, width)
        self._packed = np.frombuffer(b"".join([*(part.ids.data for part in parts), PLACEHOLDER]), np.uint8)
        ends = np.flatnonzero(self._packed < 0x80)
        sizes = np.diff(ends, prepend=-1)
        if int(sizes.max()) > MAX_BYTES:
            raise MalformedReply("search reply: an id is longer than ten bytes")
        self._ends = self._dense(ends, parts)
        self._sizes = self._dense(sizes, parts)

    def _dense(self, values: NDArray[np.int64], parts: Sequence[PackedResult]) -> NDArray[np.int64]:
        """Lay out a value of each id by slot; the last value, the placeholder's, fills the rest."""
        if all(part.width == self._shape[2] for part in parts):
            return values[:-1]
        dense = np.full(self._shape, values[-1])
        at = 0
        for place, part in zip(dense, parts, strict=True):
            stop = at + len(part.distances)
            place[:, : part.width] = values[at:stop].reshape(-1, part.width)
            at = stop
        return dense.ravel()

    def empty_places(self) -> NDArray[np.bool_]:
        """Return where no id stands: bool[parts, rows, width]."""
        empty = np.zeros(self._shape, np.bool_)
        negative = np.flatnonzero(self._sizes == MAX_BYTES)
        empty.ravel()[negative] = self.decoded(negative) == NO_ID
        return empty

    def encoded(self, slots: Slots) -> bytes:
        """Return the packed varints of the ids at ``slots``, a placeholder where no id stands."""
        sizes = self._sizes.take(slots.ravel())
        sources = np.repeat(self._ends.take(slots.ravel()) - sizes.cumsum() + 1, sizes)
        sources += np.arange(len(sources))
        return self._packed.take(sources).tobytes()

    def decoded(self, slots: Slots) -> Ids:
        """Return the ids at ``slots``, int64 of the same shape."""
        return decode_varints(np.frombuffer(self.encoded(slots), np.uint8)).reshape(slots.shape)
