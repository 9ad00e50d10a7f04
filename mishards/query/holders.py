"""Which nodes are believed to hold a segment in memory, so that a node gets traffic for it once it does; pure.

A segment that has just come is believed to be held by those that shall hold it: none of them has an advantage. From
then on a node that shall hold it anew, because the replica number rose, a node joined, or one was lost, is *cold* until
it has been warmed up, and those that held it before go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


class Holders:
    """What one router believes. Belongs to the event loop; ``version`` rises whenever another node may be asked."""

    def __init__(self, *, believes: bool = True) -> None:
        """Without belief nobody is cold, and every owner is asked."""
        self._believes = believes
        self._held: dict[str, frozenset[str]] = {}
        self.version = 0

    def settle(self, targets: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Take who shall hold each segment now; return what is cold: node → segment ids.

        Segments that are not named are forgotten. Where nothing is cold, nobody but those that shall hold it are
        believed to.
        """
        held: dict[str, frozenset[str]] = {}
        cold: dict[str, list[str]] = {}
        for segment_id, names in targets.items():
            wanted = frozenset(names)
            before = self._held.get(segment_id, wanted)
            for name in names:
                if name not in before:
                    cold.setdefault(name, []).append(segment_id)
            is_warm = wanted.issubset(before)
            held[segment_id] = wanted if is_warm else before
        self._become(held)
        return cold

    def warmed(self, name: str, segment_ids: Iterable[str]) -> None:
        """A node has loaded segments."""
        held = {segment_id: self._held[segment_id] | {name} for segment_id in segment_ids if segment_id in self._held}
        self._become({**self._held, **held})

    def lost(self, name: str) -> None:
        """A node has been gone for so long that it may come back empty."""
        self._become({segment_id: names - {name} for segment_id, names in self._held.items()})

    def among(self, segment_id: str, names: Sequence[str], owners: Sequence[str], number: int) -> tuple[str, ...]:
        """Those of the given nodes that a search may choose from, at most ``number``, in the same order.

        Where no holder is among them it is the owners that are, held or not; none where no owner is. A segment that is
        not known yet is believed to be held by its owners from now on.
        """
        held = self._held.get(segment_id)
        if held is None:
            if self._believes:
                self._held[segment_id] = frozenset(owners)
        else:
            holding = tuple(name for name in names if name in held)[:number]
            if holding:
                return holding
        return tuple(name for name in names if name in owners)

    def cold(self, segment_id: str, owners: Sequence[str]) -> tuple[str, ...]:
        """Those of a segment's owners that are not believed to hold it."""
        held = self._held.get(segment_id)
        return () if held is None else tuple(name for name in owners if name not in held)

    def _become(self, held: dict[str, frozenset[str]]) -> None:
        if held != self._held:
            self._held = held
            self.version += 1
