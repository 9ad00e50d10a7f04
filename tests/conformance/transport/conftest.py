from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

try:
    import uvloop
except ImportError:  # an extra
    uvloop = None


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Our own transport runs on every event loop that it may meet."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if uvloop is not None and item.getparent(pytest.Class) is not None and "TestH2" in item.nodeid:
        factories["uvloop"] = uvloop.new_event_loop
    return factories
