"""Deadlines of many calls on few timers: those that lie close together share one."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_SHARE: Final = 64
"""A deadline fires late by less than this part of the time it was away, and by 1 ms at least."""
_FINEST_S: Final = 0.001


class Deadlines(Generic[T]):
    """Calls ``expire`` with each item whose time has come, never early. Belongs to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[T], None]) -> None:
        self._loop = loop
        self._expire = expire
        self._buckets: dict[float, set[T]] = {}
        self._timers: dict[float, asyncio.TimerHandle] = {}

    def add(self, at: float, item: T) -> float:
        """Watch an item until ``at`` on the monotonic clock; return the key under which ``discard`` finds it."""
        away = at - time.monotonic()
        step = max(_FINEST_S, math.ldexp(1.0, math.frexp(away)[1] - 1) / _SHARE) if away > 0 else _FINEST_S
        key = math.ceil(at / step) * step
        bucket = self._buckets.get(key)
        if bucket is None:
            self._buckets[key] = bucket = set()
            self._arm(key)
        bucket.add(item)
        return key

    def discard(self, key: float, item: T) -> None:
        """Watch it no more."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            bucket.discard(item)

    def close(self) -> None:
        """Forget everything."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._buckets.clear()

    def _arm(self, key: float) -> None:
        # A loop may count time in whole milliseconds, so it is asked for one more.
        delay = max(0.0, key - time.monotonic()) + _FINEST_S
        self._timers[key] = self._loop.call_later(delay, self._fire, key)

    def _fire(self, key: float) -> None:
        if time.monotonic() < key:
            self._arm(key)
            return
        del self._timers[key]
        for item in self._buckets.pop(key):
            self._expire(item)
