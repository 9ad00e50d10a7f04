"""What a program runs on: which event loop, and whether its path of searches is native code."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from mishards.errors import ConfigError
from mishards.transport.h2 import frames

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOPS = ("auto", "asyncio", "uvloop")
"""``auto`` is uvloop where it is installed."""


def is_compiled() -> bool:
    """Is what every search passes through native code here, or the Python it is written in?"""
    return not frames.__file__.endswith(".py")


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
    log.info("event loop %s, path of searches %s", loop, "compiled" if is_compiled() else "not compiled")
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
