"""Requests that differ in nothing but their vectors, recognised by comparing bytes.

Clients send the same few searches again and again, each time with other vectors. What was found out about one request
holds for every other that is as long and has the same bytes before its first vector, between its vectors and behind
the last.

Knows rows of floats, all of one length and written the way every encoder writes them; no other request is remembered.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from mishards.wire.vectors import FloatGrid, Floats, Rows, float_grid

T = TypeVar("T")

_LONGEST: Final = 8192
"""Bytes beside the vectors of a request that is worth remembering."""
_LENGTHS: Final = 256
"""Lengths of requests that are remembered; with one more, all are forgotten."""
_OF_ONE_LENGTH: Final = 8


class _Known(Generic[T]):
    __slots__ = ("about", "grid", "head", "tail")

    def __init__(self, head: bytes, tail: bytes, grid: FloatGrid, about: T) -> None:
        """``head`` is all before the first value, ``tail`` all behind the last row."""
        self.head = head
        self.tail = tail
        self.grid = grid
        self.about = about


class AlikeRequests(Generic[T]):
    """What was found out about requests. Safe from any thread."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[_Known[T], ...]] = {}

    def find(self, request: bytes) -> tuple[T, Floats] | None:
        """What holds for this request, and its vectors float32[n, dim]: a view, maybe with values that are not finite.

        None where no request like it was remembered.
        """
        known = self._like(request)
        return None if known is None else (known.about, known.grid.view(request))

    def count(self, request: bytes) -> tuple[T, int] | None:
        """What holds for this request, and how many vectors it has. None as in ``find``."""
        known = self._like(request)
        return None if known is None else (known.about, known.grid.records)

    def _like(self, request: bytes) -> _Known[T] | None:
        for known in self._known.get(len(request), ()):
            if request.startswith(known.head) and request.endswith(known.tail) and known.grid.fits(request):
                return known
        return None

    def remember(self, request: bytes, rows: Rows, about: T) -> None:
        """Remember what holds for a request with these rows and for all that are like it; newer replaces older."""
        grid = float_grid(rows)
        if grid is None or rows.buffer is not request:
            return
        head, tail = request[: grid.start], request[rows.runs[0].end :]
        if len(head) + len(tail) > _LONGEST:
            return
        others = [known for known in self._known.get(len(request), ()) if (known.head, known.tail) != (head, tail)]
        if not others and len(self._known) >= _LENGTHS:
            self._known.clear()
        self._known[len(request)] = (_Known(head, tail, grid, about), *others[: _OF_ONE_LENGTH - 1])

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()
