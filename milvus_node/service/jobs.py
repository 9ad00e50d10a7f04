"""What a pool of threads is given to do: the work of one call, or a share that can be done together with others'."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)

MAX_BATCH_ROWS: Final = 256
"""Rows of shares that are done together; one larger share is done alone."""

Told = Callable[[Any, "Exception | None"], None]
"""Told once, on the event loop, what came of a job: its result, or an error. Must be quick, must not raise."""


class Share(Generic[T_co]):
    """The rest of a call's work: ``item``, which ``together`` turns into a result along with others of its key.

    ``together`` gets the items of some shares of one key and returns as many results, in their order.
    """

    __slots__ = ("enough", "item", "key", "rows", "together")

    def __init__(
        self,
        key: Hashable,
        rows: int,
        item: Any,
        together: Callable[[Sequence[Any]], Sequence[T_co]],
        enough: int = MAX_BATCH_ROWS,
    ) -> None:
        """``enough``: to do more rows than that together costs about as much as to do them in two parts."""
        self.key = key
        self.rows = rows
        self.item = item
        self.together = together
        self.enough = enough


class Job:
    """One call: work to begin, or a share to do.

    ``waits`` belongs to the lock of the pool; ``given_up`` is set under it, on the event loop.
    """

    __slots__ = ("given_up", "loop", "share", "told", "waits", "work")

    def __init__(
        self,
        work: Callable[[], Any] | None,
        share: Share[Any] | None,
        loop: asyncio.AbstractEventLoop,
        told: Told,
    ) -> None:
        self.work = work
        self.share = share
        self.loop = loop
        self.told = told
        self.waits = True
        self.given_up = False


Done = tuple[Job, Any, Any]
"""A job with its result or its error."""


def done_together(batch: Sequence[Job]) -> list[Done]:
    """Do the shares of a batch together; one by one where that fails, so that each caller has its own error."""
    shares = [job.share for job in batch if job.share is not None]
    try:
        results = shares[0].together([share.item for share in shares])
        return [(job, result, None) for job, result in zip(batch, results, strict=True)]
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the callers'
        if len(batch) == 1:
            return [(batch[0], None, error)]
    return [done for job in batch for done in done_together([job])]
