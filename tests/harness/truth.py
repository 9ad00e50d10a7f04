"""What a search may answer while rows come and go: the exact truth, for any load, and for what is there in the end.

Whatever is under way or has an unknown end may be in an answer or not; whatever was acknowledged must be, once; what
was deleted must not come back. Nothing here speaks to a server.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.vectors import Floats, Ids, squared_l2

_NEVER = np.inf
_BEGUN, _VISIBLE, _LEAVING, _GONE = range(4)


class Answer(Protocol):
    """What a search found, for each query; ids are padded with -1."""

    @property
    def ids(self) -> Sequence[Sequence[int]]: ...

    @property
    def distances(self) -> Sequence[Sequence[float]]: ...


class Truth:
    """The rows of one L2 collection over time. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}
        self._ids: Ids = np.empty(0, np.int64)
        self._vectors: Floats = np.empty((0, 0), np.float32)
        self._times: NDArray[np.float64] = np.empty((4, 0))
        self._settled: list[tuple[float, float]] = []
        """Since when it is known that all is known that was done before which moment; in order."""
        self._lock = threading.Lock()

    def inserting(self, ids: Iterable[int], vectors: Floats) -> None:
        """Rows are about to be sent: from now on an answer may have them."""
        listed = list(ids)
        with self._lock:
            new = dict.fromkeys(number for number in listed if number not in self._places)
            self._make_room(len(self._places) + len(new), vectors.shape[1])
            self._places.update({number: len(self._places) + offset for offset, number in enumerate(new)})
            places = [self._places[number] for number in listed]
            self._ids[places] = listed
            self._vectors[places] = vectors
            self._times[:, places] = _NEVER
            self._times[_BEGUN, places] = time.monotonic()

    def _make_room(self, rows: int, dimension: int) -> None:
        have = len(self._ids)
        if rows > have:
            more = max(rows, 2 * have) - have
            self._ids = np.concatenate([self._ids, np.zeros(more, np.int64)])
            kept = self._vectors if have else np.empty((0, dimension), np.float32)
            self._vectors = np.concatenate([kept, np.zeros((more, dimension), np.float32)])
            self._times = np.concatenate([self._times, np.full((4, more), _NEVER)], axis=1)

    def inserted(self, ids: Iterable[int]) -> None:
        """They must be found by every search that begins now: acknowledged, and flushed if searches need that."""
        self._note(_VISIBLE, ids)

    def deleting(self, ids: Iterable[int]) -> None:
        """A delete is about to be sent: an answer need not have these rows any more."""
        self._note(_LEAVING, ids)

    def deleted(self, ids: Iterable[int]) -> None:
        """No search that begins now may find them: acknowledged, and flushed if searches need that."""
        self._note(_GONE, ids)

    def _note(self, what: int, ids: Iterable[int]) -> None:
        now = time.monotonic()
        with self._lock:
            self._times[what, [self._places[number] for number in ids]] = now

    def settle(self, moment: float) -> None:
        """Whatever was done before this moment (of ``time.monotonic``) is known to every router.

        It is what searches are held to that need not know of the latest writes.
        """
        with self._lock:
            self._settled.append((time.monotonic(), moment))

    def _settled_before(self, began: float) -> float:
        """The latest moment of which it was known when a search began; until then it is held to the latest."""
        return next((moment for known, moment in reversed(self._settled) if known <= began), began)

    def kept(self) -> list[int]:
        """Rows that were acknowledged and that nobody has tried to delete, oldest first."""
        with self._lock:
            found = np.isfinite(self._times[_VISIBLE]) & np.isinf(self._times[_LEAVING])
            order = np.argsort(self._times[_BEGUN][found], kind="stable")
            return [int(number) for number in self._ids[found][order]]

    def known(self, gone_since: float = 0.0) -> list[int]:
        """Every row that was ever sent, but those whose delete was acknowledged before a moment."""
        with self._lock:
            rows = len(self._places)
            return [int(number) for number in self._ids[:rows][self._times[_GONE, :rows] >= gone_since]]

    def vectors(self, ids: Sequence[int]) -> Floats:
        """The vectors ``float32[n, dim]`` of rows that were once sent."""
        with self._lock:
            chosen: Floats = self._vectors[[self._places[number] for number in ids]]
        return chosen

    def loss(self, present: Sequence[int]) -> str:
        """Return what is wrong with the ids that are there, while nothing is under way, or nothing."""
        with self._lock:
            rows = len(self._places)
            ids, times = self._ids[:rows].copy(), self._times[:, :rows].copy()
        there, counts = np.unique(np.asarray(present, np.int64), return_counts=True)
        lost = np.setdiff1d(ids[np.isfinite(times[_VISIBLE]) & np.isinf(times[_LEAVING])], there)
        back = np.intersect1d(ids[np.isfinite(times[_GONE])], there)
        strange, twice = np.setdiff1d(there, ids), there[counts > 1]
        found = {
            "acknowledged rows are lost": lost,
            "deleted rows are back": back,
            "rows that nobody sent are there": strange,
            "rows are there twice": twice,
        }
        return "; ".join(f"{len(those)} {what}: {those[:5].tolist()}" for what, those in found.items() if len(those))

    def fault(
        self, queries: Floats, topk: int, found: Answer, began: float, ended: float, *, latest: bool = True
    ) -> str:
        """Return what is wrong with an answer to a search between two times, or nothing.

        With ``latest`` the search must know of all that was done before it began, else of what ``settle`` names.
        """
        with self._lock:
            horizon = began if latest else self._settled_before(began)
            rows = len(self._places)
            begun, visible, leaving, gone = self._times[:, :rows]
            possible = np.flatnonzero((begun <= ended) & (gone > horizon))
            possible = possible[np.argsort(self._ids[possible])]
            certain = (visible[possible] <= horizon) & (leaving[possible] > ended)
            ids, vectors = self._ids[possible], self._vectors[possible]
        if len(found.ids) != (len(queries) if certain.any() else len(found.ids)):
            return f"{len(found.ids)} rows for {len(queries)} queries"
        distances = squared_l2(queries, vectors) if len(ids) else np.empty((len(queries), 0), np.float32)
        for row, (hits, said) in enumerate(zip(found.ids, found.distances, strict=True)):
            if wrong := _fault_of_row(ids, certain, distances[row], topk, (hits, said)):
                return f"query {row}: {wrong.text}{self._story(wrong.ids, began)}"
        return ""

    def _story(self, ids: Sequence[int], began: float) -> str:
        """What became of some rows, in seconds before or after a search began."""
        names = ("sent", "acknowledged", "deleting", "deleted")
        with self._lock:
            times = {number: self._times[:, self._places[number]] - began for number in ids if number in self._places}
        told = {
            number: [f"{name} {at:+.2f}" for name, at in zip(names, those, strict=True) if np.isfinite(at)]
            for number, those in times.items()
        }
        stories = [f"{number} {' '.join(parts)}" for number, parts in told.items()]
        return f" ({'; '.join(stories)})" if stories else ""


@dataclass(frozen=True)
class _Wrong:
    text: str
    ids: tuple[int, ...] = ()


def _fault_of_row(
    ids: Ids, certain: NDArray[np.bool_], distances: Floats, topk: int, answer: tuple[Sequence[int], Sequence[float]]
) -> _Wrong | None:
    kept = [place for place, number in enumerate(answer[0]) if number != -1]
    hits, said = np.array(answer[0], np.int64)[kept], np.array(answer[1], np.float32)[kept]
    places = np.searchsorted(ids, hits)
    known = places < len(ids)
    known[known] = ids[places[known]] == hits[known]
    if not known.all():
        return _among(hits[~known], "are not there, or no longer")
    if len(np.unique(hits)) != len(hits):
        return _Wrong("an id is there twice")
    if not np.allclose(distances[places], said, rtol=1e-4, atol=1e-4) or (np.diff(said) < 0).any():
        return _Wrong("distances are wrong or out of order")
    if len(hits) > topk:
        return _Wrong(f"{len(hits)} hits for topk {topk}")
    if len(hits) < min(topk, int(certain.sum())):
        missing = np.setdiff1d(ids[certain], hits)[:5]
        return _Wrong(f"short: {len(hits)} hits of {min(topk, int(certain.sum()))}", tuple(missing.tolist()))
    horizon = said[-1] * (1 - 1e-4) if len(hits) == topk else np.inf
    missing = np.setdiff1d(ids[certain & (distances < horizon)], hits)
    return _among(missing, "are missing") if len(missing) else None


def _among(ids: Ids, what: str) -> _Wrong:
    few = ids[:5].tolist()
    return _Wrong(f"ids {few} {what}", tuple(few))
