"""Which segments to merge; pure.

Small raw segments are merged with others of their size layer (4, 16, 64, 256 MB, 1 GB), so that a row is rewritten a
few times and not at each flush. A forced merge makes as few segments as fit under ``index_file_size``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

MB = 1 << 20
LAYERS = (4 * MB, 16 * MB, 64 * MB, 256 * MB, 1024 * MB)
LONELY_S = 30.0
"""A lone small segment is merged upward once it is this old."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A raw segment: its size in bytes and its age in seconds."""

    segment_id: str
    size: int
    age_s: float


def background_merges(candidates: Sequence[Candidate], index_file_size: int) -> list[list[str]]:
    """Groups of at least two segments to merge now, oldest name first, each below or just over ``index_file_size``."""
    layers: dict[int, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if candidate.size < index_file_size:
            layers[_layer(candidate.size)].append(candidate)
    groups = []
    lonely: list[Candidate] = []
    for layer in sorted(layers):
        waiting = lonely + layers[layer]
        if len(waiting) < 2:
            lonely = [candidate for candidate in waiting if candidate.age_s >= LONELY_S]
            continue
        lonely = []
        groups += _packed(waiting, index_file_size)
    return [group for group in groups if len(group) > 1]


def forced_merges(candidates: Sequence[Candidate], index_file_size: int) -> list[list[str]]:
    """Groups of at least two segments that together make segments of about ``index_file_size``."""
    small = [candidate for candidate in candidates if candidate.size < index_file_size]
    return [group for group in _packed(small, index_file_size) if len(group) > 1]


def _layer(size: int) -> int:
    return next((i for i, limit in enumerate(LAYERS) if size < limit), len(LAYERS))


def _packed(candidates: Sequence[Candidate], index_file_size: int) -> list[list[str]]:
    """Fill groups in order of name until each reaches ``index_file_size``."""
    groups: list[list[str]] = []
    room = 0
    for candidate in sorted(candidates, key=lambda c: (len(c.segment_id), c.segment_id)):
        if room <= 0:
            groups.append([])
            room = index_file_size
        groups[-1].append(candidate.segment_id)
        room -= candidate.size
    return groups
