"""Which of several writable nodes takes the writes; pure.

Writable nodes that elect a leader say themselves whether they lead, and in which epoch. One that elects nobody, as a
Milvus server, leads by being there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """What a node said last: whether it leads, in which epoch, and who leads as far as it knows."""

    leading: bool
    epoch: int = 0
    leader: str = ""

    @classmethod
    def parse(cls, answer: str) -> Claim | None:
        """Read the answer to ``LEADER_COMMAND``; None when it is none."""
        try:
            fields = json.loads(answer)
            return cls(bool(fields["leading"]), int(fields["epoch"]), str(fields["leader"]))
        except (ValueError, OverflowError, RecursionError, KeyError, TypeError):
            return None


def leader_among(claims: Sequence[tuple[str, Claim | None]]) -> str | None:
    """Who takes writes among writable nodes, given by name in the order in which they would be taken otherwise.

    Of those that say they lead, the one of the highest epoch: the others have been succeeded and do not know yet. Else
    the first that has said nothing: it elects nobody, or has not been asked. None where all of them stand by.
    """
    leading = [(claim.epoch, name) for name, claim in claims if claim is not None and claim.leading]
    if leading:
        return max(leading)[1]
    return next((name for name, claim in claims if claim is None), None)
