"""Settings of the log, the same for routers and nodes."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from mishards.options import about


class LogFormat(str, enum.Enum):
    """How a line is written."""

    TEXT = "text"
    """``key=value`` pairs."""
    JSON = "json"
    """One object a line."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What is logged, and where to."""

    level: str = field(
        default="info", metadata=about("least severe line logged", choices=("debug", "info", "warning", "error"))
    )
    format: LogFormat = field(default=LogFormat.TEXT, metadata=about("how a line is written"))
    file: str = field(default="", metadata=about("file of the log, rotated; - is stdout, empty is stderr"))
    file_bytes: int = field(default=100 << 20, metadata=about("size at which the file is rotated", minimum=1 << 10))
    files_kept: int = field(default=5, metadata=about("rotated files kept", minimum=1, maximum=1000))
    requests: bool = field(default=True, metadata=about("one line a request"))
    requests_per_s: int = field(
        default=200, metadata=about("more requests in a second, and the lines are a sample; 0 is no limit", minimum=0)
    )
