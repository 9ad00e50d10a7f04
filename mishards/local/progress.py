"""Shows the steps of long work: a moving bar on a terminal, one line a finished step elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Advance = Callable[[int], None]
"""Says that so much more of a step is done."""


@contextmanager
def step(console: Console, doing: str, total: int | None = None) -> Iterator[Advance]:
    """Show one step while the body runs; ``total`` is its size where that is known."""
    show = _bar if console.is_terminal else _line
    with show(console, doing, total) as advance:
        yield advance


@contextmanager
def _bar(console: Console, doing: str, total: int | None) -> Iterator[Advance]:
    count = (MofNCompleteColumn(),) if total is not None else ()
    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}"),
        BarColumn(),
        *count,
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"{doing:<24}", total=total)
        yield lambda amount: progress.advance(task, amount)
        progress.update(task, total=total or 1, completed=total or 1)


@contextmanager
def _line(console: Console, doing: str, total: int | None) -> Iterator[Advance]:
    started = time.monotonic()
    yield lambda amount: None
    size = f" {total:,}" if total is not None else ""
    console.print(f"{doing}{size}: done in {time.monotonic() - started:.1f} s", highlight=False)
