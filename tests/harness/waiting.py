"""Waiting for a condition, always with a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

_T = TypeVar("_T")

_PAUSE_S = 0.02


def eventually(condition: Callable[[], _T], timeout_s: float, message: str | Callable[[], str]) -> _T:
    """Return the first truthy value of ``condition``, which is asked every 20 ms.

    Raises:
        AssertionError: with ``message`` when ``timeout_s`` seconds have passed; the condition is asked once more then.
    """
    end = time.monotonic() + timeout_s
    while True:
        expired = time.monotonic() >= end
        if value := condition():
            return value
        if expired:
            raise AssertionError(_text(message, timeout_s))
        time.sleep(_PAUSE_S)


async def eventually_async(
    condition: Callable[[], Awaitable[_T]], timeout_s: float, message: str | Callable[[], str]
) -> _T:
    """Like ``eventually``, for a condition that is awaited."""
    end = time.monotonic() + timeout_s
    while True:
        expired = time.monotonic() >= end
        if value := await condition():
            return value
        if expired:
            raise AssertionError(_text(message, timeout_s))
        await asyncio.sleep(_PAUSE_S)


def _text(message: str | Callable[[], str], timeout_s: float) -> str:
    said = message if isinstance(message, str) else message()
    return f"not within {timeout_s:g} s: {said}"
