"""How the C library treats memory that was freed: kept for the next message, up to a bound.

As it comes, glibc gives what was freed back to the system as soon as that is twice the largest block, and gets the next
block page by page. That is most of the cost of a message of some megabytes: without, one is received in a third of the
CPU time.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from typing import Final

KEPT_BYTES: Final = 64 << 20
"""Freed memory that is not given back."""

_LARGEST_BLOCK: Final = 32 << 20  # glibc takes no higher one; larger blocks are given back as ever
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
_OPERATORS: Final = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed(environ: Mapping[str, str] = os.environ) -> bool:  # noqa: TID251 - variables of glibc, not of ours
    """Keep freed memory from now on, for the whole process; did that go?

    It does not where the operator decided by one of glibc's variables, and with another C library.
    """
    if any(name in environ for name in _OPERATORS):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK) and mallopt(_TRIM_THRESHOLD, KEPT_BYTES))
