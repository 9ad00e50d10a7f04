"""Memory of indexes in huge pages.

A search reads some hundred places all over an index. In pages of 4 KB most of them cost a walk through the page tables
besides, which in a virtual machine takes about as long as the reading. The C library gives small blocks of memory no
huge pages, so they are gathered into some when an index has been read.

Linux only. Nothing happens elsewhere, and where the operator has turned transparent huge pages off.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterable
from pathlib import Path

PAGE = 2 << 20
"""Bytes of a huge page, on x86-64 and on arm64 with pages of 4 KB."""

_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_HUGEPAGE, _COLLAPSE = 14, 25
"""Advice to madvise(2); the second is known since Linux 6.1. With the first alone it happens some time later."""

Block = tuple[int, int]
"""Address and size of a piece of memory."""


def gather(blocks: Iterable[Block]) -> int:
    """Put memory into huge pages, as far as these lie within it; the bytes for which that was done at once.

    It takes about 2 ms a megabyte. Others may read the memory meanwhile.
    """
    advise = _advise()
    if advise is None:
        return 0
    done = 0
    for address, size in whole_pages(blocks):
        if not advise(address, size, _HUGEPAGE) and not advise(address, size, _COLLAPSE):
            done += size
    return done


def whole_pages(blocks: Iterable[Block], page: int = PAGE) -> list[Block]:
    """The whole pages that the blocks lie in, one behind the other; what is less than a page apart counts as one."""
    spans: list[tuple[int, int]] = []
    for address, size in sorted(blocks):
        if spans and address - spans[-1][1] < page:
            spans[-1] = spans[-1][0], max(spans[-1][1], address + size)
        else:
            spans.append((address, address + size))
    rounded = [(-(-start // page) * page, end // page * page) for start, end in spans]
    return [(start, end - start) for start, end in rounded if start < end]


@functools.cache
def _advise() -> ctypes._NamedFuncPointer | None:
    """The function madvise(2); None where it is not to be called."""
    try:
        if "[never]" in _SETTING.read_text(encoding="ascii"):
            return None
        advise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return None
    advise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    return advise
