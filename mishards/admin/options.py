"""Settings of the admin API."""

from __future__ import annotations

from dataclasses import dataclass, field

from mishards.options import about


@dataclass(frozen=True, slots=True)
class AdminOptions:
    """The status page and the admin API."""

    token: str = field(
        default="",
        metadata=about("bearer token that may change things from anywhere; empty: only this machine may", secret=True),
    )
