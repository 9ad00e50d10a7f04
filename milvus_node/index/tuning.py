"""Build parameters made to fit the number of rows, as Milvus 1.x does at build time. Pure arithmetic."""

from __future__ import annotations

ROWS_PER_LIST = 40
_NBITS_STEPS = (8, 4, 2, 1)


def tuned_nlist(nlist: int, rows: int) -> int:
    """Lower ``nlist`` so that a list has ``ROWS_PER_LIST`` rows on average; at least 1."""
    return max(1, min(nlist, rows // ROWS_PER_LIST))


def tuned_nbits(nbits: int, rows: int) -> int:
    """Lower ``nbits`` to 8, 4, 2 or 1 while there are fewer rows than its 2**nbits centroids; at least 1."""
    if rows >= 1 << nbits:
        return nbits
    return next((step for step in _NBITS_STEPS if step < nbits and rows >= 1 << step), 1)
