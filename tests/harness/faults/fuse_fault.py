"""What a faulty folder does to the calls on it: a value that the test writes and the folder's process reads."""

from __future__ import annotations

import enum
import json
from dataclasses import asdict, dataclass


class Kind(enum.Enum):
    """What happens to a call."""

    NONE = "none"
    HANG = "hang"
    FAIL = "fail"
    FULL = "full"
    SLOW = "slow"


@dataclass(frozen=True)
class Fault:
    """One fault of a folder.

    Attributes:
        kind: What happens to a call.
        number: The ``errno`` of calls that fail.
        seconds: By how much a call is slower.
        under: The path in the folder, without a slash before it, to which the fault is confined; empty: all of it.
    """

    kind: Kind = Kind.NONE
    number: int = 0
    seconds: float = 0.0
    under: str = ""

    def covers(self, path: str) -> bool:
        """Is it the fault of this path, which begins with a slash?"""
        return not self.under or path == f"/{self.under}" or path.startswith(f"/{self.under}/")

    def encoded(self) -> bytes:
        """It as JSON."""
        return json.dumps({**asdict(self), "kind": self.kind.value}).encode()

    @staticmethod
    def decoded(text: bytes) -> Fault:
        """The fault of what ``encoded`` gave."""
        fields = json.loads(text)
        return Fault(Kind(fields.pop("kind")), **fields)
