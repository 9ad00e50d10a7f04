"""Routing ``first``: every segment on the nodes in the order of their names. Balanced it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mishards.routing.api import Owner, Placeable, Placement


class First:
    """Places everything alike."""

    def assign(self, segments: Sequence[Placeable], owners: Sequence[Owner], count: int) -> Placement:
        """The first nodes by name."""
        names = tuple(sorted(owner.name for owner in owners))[:count]
        return {segment.segment_id: names for segment in segments}


class FirstPlugin:
    """The entry point's object."""

    def routing(self, options: Mapping[str, str]) -> First:
        """The one there is."""
        return First()


plugin = FirstPlugin()
