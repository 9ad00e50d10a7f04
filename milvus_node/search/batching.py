"""What waits to be searched, like with like; pure, without threads or a clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")


class BatchQueue(Generic[T]):
    """Items in line, those of one key together. Not safe for threads.

    Invariants: items of one key leave in the order in which they came; the key whose oldest item came first is next.
    """

    def __init__(self) -> None:
        self._lines: dict[Hashable, deque[tuple[int, int, T]]] = {}  # of numbers that rise, rows, items
        self._numbers = count()

    def __len__(self) -> int:
        """Keys that wait."""
        return len(self._lines)

    def add(self, key: Hashable, item: T, rows: int) -> None:
        """Put an item that asks for so many rows in the line of its key."""
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = deque()
        line.append((next(self._numbers), rows, item))

    def take(self, max_rows: Callable[[T], int]) -> list[T]:
        """Take the items of the next key, up to as many rows as its first item allows; a larger first item comes alone.

        Empty if none waits.
        """
        if not self._lines:
            return []
        key, line = min(self._lines.items(), key=_age)
        _, rows, first = line.popleft()
        taken, most = [first], max_rows(first)
        while line and rows + line[0][1] <= most:
            _, more, item = line.popleft()
            rows += more
            taken.append(item)
        if not line:
            del self._lines[key]
        return taken


def _age(entry: tuple[Hashable, deque[tuple[int, int, T]]]) -> int:
    return entry[1][0][0]
