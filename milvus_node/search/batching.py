"""What waits to be searched, like with like; pure, without threads or a clock."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class BatchQueue(Generic[T]):
    """Items in line, those of one key together. Not safe for threads.

    Invariants: items of one key leave in the order in which they came; the key whose oldest item came first is next.
    """

    def __init__(self) -> None:
        self._lines: OrderedDict[Hashable, deque[tuple[int, int, T]]] = OrderedDict()
        self._arrivals = 0

    def __len__(self) -> int:
        """Keys that wait."""
        return len(self._lines)

    def add(self, key: Hashable, item: T, rows: int) -> None:
        """Put an item that asks for so many rows in the line of its key."""
        self._arrivals += 1
        self._lines.setdefault(key, deque()).append((self._arrivals, rows, item))

    def take(self, max_rows: int) -> list[T]:
        """Take the items of the next key, up to ``max_rows`` rows; a larger first item comes alone. Empty if none."""
        if not self._lines:
            return []
        key = next(iter(self._lines))
        line = self._lines[key]
        _, rows, item = line.popleft()
        taken = [item]
        while line and rows + line[0][1] <= max_rows:
            _, more, item = line.popleft()
            rows += more
            taken.append(item)
        del self._lines[key]
        if line:
            self._put_back(key, line)
        return taken

    def _put_back(self, key: Hashable, line: deque[tuple[int, int, T]]) -> None:
        """Give a line that was cut the place of its oldest item."""
        self._lines[key] = line
        for other in [each for each, waiting in self._lines.items() if waiting[0][0] > line[0][0]]:
            self._lines.move_to_end(other)
