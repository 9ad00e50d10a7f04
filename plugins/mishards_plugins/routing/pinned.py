"""Routing ``pinned``: named nodes first for some collections or partitions, the ring for the rest.

Features: weights yes, also among the nodes of a pin; replicas yes; balance bound 1.25 among the nodes of a pin and for
what is not pinned, not over both; zones no.

Options:
    ``pin.COLLECTION``: names of nodes, ``node-1|node-2``, that hold the collection.
    ``pin.COLLECTION/TAG``: the same for one partition, before what its collection says; the partition that rows go to
        without a tag is ``_default``.
    ``points``: points a node of weight 1 has on the ring, default 256.

A pinned segment's list begins with those of its nodes that are members, placed by a ring of their own, and goes on with
the others, placed by theirs. So copies beyond the pin's nodes, and who takes over when these fail, are spread over the
others. A pin of which no node is a member counts for nothing; a node may be named before it exists.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from mishards.errors import PluginError
from mishards.routing.api import Owner, Placeable, Placement
from mishards_plugins.routing.ring import DEFAULT_POINTS, placed, points_of

_PIN = "pin."

Pins = Mapping[tuple[str, str], frozenset[str]]
"""Collection and tag, the tag empty for the whole collection → names of nodes."""


class Pinned:
    """A ring for each set of nodes that something is pinned to. Immutable; safe to use from any thread."""

    def __init__(self, pins: Pins, points: int = DEFAULT_POINTS) -> None:
        self._pins = dict(pins)
        self._points = points

    def assign(self, segments: Sequence[Placeable], owners: Sequence[Owner], count: int) -> Placement:
        """Place the segments of one collection."""
        names = {owner.name for owner in owners}
        together: dict[frozenset[str], list[Placeable]] = defaultdict(list)
        for segment in segments:
            together[self._nodes_of(segment) & names].append(segment)
        chosen: dict[str, tuple[str, ...]] = {}
        for pinned, found in together.items():
            first = placed(found, [owner for owner in owners if owner.name in pinned], count, self._points)
            others = [owner for owner in owners if owner.name not in pinned]
            then = placed(found, others, count - min(count, len(pinned)), self._points)
            chosen |= {key: held + then[key] for key, held in first.items()}
        return chosen

    def _nodes_of(self, segment: Placeable) -> frozenset[str]:
        whole = self._pins.get((segment.collection, ""), frozenset())
        return self._pins.get((segment.collection, segment.partition), whole)


def pins_of(options: Mapping[str, str]) -> Pins:
    """The options that are pins. Raises PluginError."""
    pins = {}
    for option in sorted(options):
        if option.startswith(_PIN):
            collection, slash, tag = option.removeprefix(_PIN).partition("/")
            if not collection or (slash and not tag):
                raise PluginError(f"routing pinned: {option!r} pins nothing; expected pin.COLLECTION or with /TAG")
            nodes = [name.strip() for name in options[option].split("|")]
            if not all(nodes):
                raise PluginError(f"routing pinned: {option} is {options[option]!r}, expected node-1|node-2")
            pins[collection, tag] = frozenset(nodes)
    return pins


class PinnedPlugin:
    """The entry point's object."""

    def routing(self, options: Mapping[str, str]) -> Pinned:
        """Pins and rings with these options."""
        rest = {option: text for option, text in options.items() if not option.startswith(_PIN)}
        return Pinned(pins_of(options), points_of(rest, "pinned"))


plugin = PinnedPlugin()
