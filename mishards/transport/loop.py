"""Which event loop a program runs on."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
from collections.abc import Coroutine
from typing import Any, TypeVar

from mishards.errors import ConfigError

T = TypeVar("T")

LOOPS = ("auto", "asyncio", "uvloop")
"""``auto`` is uvloop where it is installed."""


def settle() -> None:
    """Have the garbage collector pass over what is there now, and look less often: a program that serves has started.

    What a call makes is freed when the call ends, without the collector; libraries leave some hundred thousand objects
    that it would look at again and again, for tens of milliseconds each time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def run_on(loop: str, main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end as ``asyncio.run`` does, on a loop of ``LOOPS``.

    Raises:
        ConfigError: uvloop is asked for and not installed.
    """
    installed = importlib.util.find_spec("uvloop") is not None
    if loop == "asyncio" or (loop == "auto" and not installed):
        return asyncio.run(main)
    if not installed:
        main.close()
        raise ConfigError(
            "the loop is to be uvloop, which is not installed; install mishards[uvloop] or choose another loop"
        )
    import uvloop

    result: T = uvloop.run(main)
    return result
