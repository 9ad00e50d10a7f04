"""Settings of tracing, the same for every program and plugin."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from mishards.options import about

NONE = "none"
"""The name of no plugin: nothing is traced, and no library of tracing is imported."""


class Sampler(str, enum.Enum):
    """Which calls are traced, where the caller's own context does not say so."""

    CONST = "const"
    """All with parameter 1, none with 0."""
    PROBABILISTIC = "probabilistic"
    """The parameter is the share of calls, 0 to 1."""
    RATE_LIMITING = "rate_limiting"
    """The parameter is how many calls a second."""


@dataclass(frozen=True, slots=True)
class TracingOptions:
    """Traces of calls."""

    plugin: str = field(default=NONE, metadata=about("tracing plugin, jaeger or otlp; none is off"))
    service_name: str = field(default="", metadata=about("name of this service in traces; empty is the program's own"))
    endpoint: str = field(
        default="",
        metadata=about("HOST:PORT of the Jaeger agent or URL of the OTLP collector; empty is the usual one, local"),
    )
    sampler: Sampler = field(default=Sampler.CONST, metadata=about("which calls are traced"))
    sampler_param: float = field(
        default=1.0, metadata=about("const: 0 or 1; probabilistic: share; rate_limiting: calls a second", minimum=0)
    )
    queue_size: int = field(
        default=10_000, metadata=about("spans that wait to be sent; more are dropped and counted", minimum=10)
    )
    flush_interval_ms: int = field(default=1_000, metadata=about("longest wait before spans are sent", minimum=1))

    def __post_init__(self) -> None:
        if self.sampler is Sampler.CONST and self.sampler_param not in (0, 1):
            raise ValueError(f"sampler_param must be 0 or 1 for sampler const, not {self.sampler_param:g}")
        if self.sampler is Sampler.PROBABILISTIC and self.sampler_param > 1:
            raise ValueError(f"sampler_param must be 0 to 1 for sampler probabilistic, not {self.sampler_param:g}")
