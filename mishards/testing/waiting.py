"""Waiting for a condition, with a deadline, instead of sleeping."""

# ruff: noqa: S101 - made for tests

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

TIMEOUT_S = 10.0


def eventually(condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """Return once the condition holds; fail when it does not within ``timeout_s``."""
    pause, deadline = threading.Event(), time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"did not come true within {timeout_s} s"
        pause.wait(0.01)


async def eventually_async(condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """The same on an event loop, which goes on meanwhile."""
    pause, deadline = asyncio.Event(), time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"did not come true within {timeout_s} s"
        try:
            await asyncio.wait_for(pause.wait(), 0.005)
        except asyncio.TimeoutError:
            continue
