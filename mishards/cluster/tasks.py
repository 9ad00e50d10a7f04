"""Ending tasks of an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_PAUSE_S = 0.1


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and return once they have ended.

    Once is not enough before Python 3.12: ``asyncio.wait_for`` swallows a cancellation that comes in the same moment as
    what it waits for.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_PAUSE_S)
