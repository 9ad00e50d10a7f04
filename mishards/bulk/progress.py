"""Shows how far bulk work is: a moving bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn

Advance = Callable[[int], None]
"""Says that so many more rows are dealt with."""

_LINE_S = 5.0


@contextmanager
def shown(console: Console, doing: str, total: int | None, *, quiet: bool = False) -> Iterator[Advance]:
    """Show rows, rows a second and the time left while the body runs; ``total`` is None where it is unknown."""
    if quiet:
        yield lambda _rows: None
    elif console.is_terminal:
        with _bar(console, doing, total) as advance:
            yield advance
    else:
        yield _Lines(console, doing, total).advance


@contextmanager
def _bar(console: Console, doing: str, total: int | None) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(doing, total=total)
        yield lambda rows: progress.advance(task, rows)


class _Rate(TextColumn):
    """Rows a second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> object:  # type: ignore[override]  # rich names its own class of text
        self.text_format = f"{task.finished_speed or task.speed or 0:,.0f} rows/s"
        return super().render(task)


class _Lines:
    """A line at most every few seconds."""

    def __init__(self, console: Console, doing: str, total: int | None) -> None:
        self._console, self._doing, self._total = console, doing, total
        self._rows = 0
        self._began = self._said = time.monotonic()

    def advance(self, rows: int) -> None:
        self._rows += rows
        now = time.monotonic()
        if now - self._said < _LINE_S:
            return
        self._said = now
        rate = self._rows / (now - self._began)
        of = "" if self._total is None else f" of {self._total:,}"
        left = "" if self._total is None else f", {max(0, self._total - self._rows) / max(rate, 1):,.0f} s left"
        self._console.print(f"{self._doing}: {self._rows:,}{of} rows, {rate:,.0f} rows/s{left}", highlight=False)
