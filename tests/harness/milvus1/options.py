"""What a node of the double can be told: its version, its delays, and which reading of an unclear point it follows."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Literal

Role = Literal["rw", "ro"]


@dataclass(frozen=True)
class Options:
    """Settings of one node; the defaults are those of an unmodified 1.0.0 server.

    Merges are the exception: a real server also merges small segments after each flush and, in every role, at its
    start. Tests want to know which segments there are, so only the merge that belongs to CreateIndex and DropIndex is
    on; ``merges`` turns the others on.
    """

    version: str = "1.0.0"
    """What ``Cmd version`` answers; ``1.1.0`` lets pymilvus 1.1.2 in."""
    auto_flush_interval_s: float = 1.0
    """Seconds between automatic flushes; 0 for never."""
    cleanup_delay_s: float = 10.0
    """Seconds until rows TO_DELETE and their files are removed."""
    build_threshold: int = 4096
    """A segment of fewer rows is never indexed."""
    merges: tuple[str, ...] = ("index",)
    """When raw segments are merged: at ``index`` calls, after each ``flush``, at the ``start`` of any role."""
    hnsw_pads_with_minus_one: bool = True
    """HNSW fills a short row with distance -1 (L2) or 2 (IP); otherwise as IVF does, with the worst distance."""
    approximate_hits: int | None = None
    """An index finds at most this many rows of a segment, as one that is approximate may."""
    skips_deleted_files: bool = False
    """Rows TO_DELETE count as unknown ids at once. Both was noted: this as seen, the default as read in the source."""
    reads_deletes_by_updated_time: bool = False
    """A cached segment's deletes are read again when its row's ``updated_time`` has changed, as 1.1 does by itself."""
    load_failure: str = "Failed to load index file : DISK2CPU : {location}"
    """The reason when a file cannot be loaded; a real node may also say ``index is null``."""


def parse_option(text: str) -> tuple[str, object]:
    """Return the field and the value that ``NAME=VALUE`` gives; the value is JSON, or else text.

    Raises:
        ValueError: when ``Options`` has no such field.
    """
    name, _, value = text.partition("=")
    if name not in {field.name for field in fields(Options)}:
        raise ValueError(f"no option {name!r}")
    if name == "version":
        return name, value
    try:
        parsed = json.loads(value)
    except ValueError:
        return name, value
    return name, tuple(parsed) if isinstance(parsed, list) else parsed
