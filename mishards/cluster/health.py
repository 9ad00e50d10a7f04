"""Whether a node is well: a pure state machine; it knows no clock and no network.

In-band first: the first call that finds a node gone trips it, and so do a few faults in a row. From then on it is
asked again after a pause that doubles, and comes back on its first answer, with a share of the load that grows from
nothing (slow start). An active probe finds nodes that die while nobody calls them.

Health never moves placement; it only says whom not to ask now.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace

from mishards.options import about


class HealthState(enum.Enum):
    """What is known of a node."""

    NEW = "new"
    """Nothing yet."""
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class HealthOptions:
    """Settings of the health check."""

    probe_interval_ms: int = field(default=10_000, metadata=about("between probes of a node that is up", minimum=10))
    probe_timeout_ms: int = field(default=1_000, metadata=about("longest wait for a probe's answer", minimum=1))
    probe_failures: int = field(default=3, metadata=about("failed probes in a row that take a node down", minimum=1))
    call_faults: int = field(default=3, metadata=about("faulty answers in a row that take a node down", minimum=1))
    retry_min_ms: int = field(default=200, metadata=about("first pause before a node that is down is asked", minimum=1))
    retry_max_ms: int = field(default=5_000, metadata=about("longest such pause", minimum=1))
    slow_start_ms: int = field(default=3_000, metadata=about("time to full load after coming back", minimum=0))
    patience_ms: int = field(
        default=1_000,
        metadata=about(
            "wait for a search's answer before its node is probed, and others asked besides if it lives", minimum=1
        ),
    )


@dataclass(frozen=True, slots=True)
class Health:
    """State of one node; times are monotonic seconds.

    ``failures`` counts failed probes in a row, ``faults`` faulty answers in a row, ``trips`` how often in a row the
    node went down without being up for long; ``since`` is when the state began, ``probe_at`` when to probe next.
    """

    state: HealthState = HealthState.NEW
    failures: int = 0
    faults: int = 0
    trips: int = 0
    since: float = 0.0
    probe_at: float = 0.0
    reason: str = ""

    def call_answered(self) -> Health:
        """A call was answered; allocation-free where nothing changes."""
        return self if not self.faults else replace(self, faults=0)

    def call_faulted(self, now: float, options: HealthOptions, reason: str) -> Health:
        """A call was answered with a fault of the node."""
        if self.state is HealthState.DOWN:
            return self
        faults = self.faults + 1
        if faults >= options.call_faults:
            return self.tripped(now, options, reason)
        return replace(self, faults=faults)

    def call_broke(self, now: float, options: HealthOptions, reason: str) -> Health:
        """A call found the node gone or dead."""
        return self if self.state is HealthState.DOWN else self.tripped(now, options, reason)

    def probe_answered(self, now: float, options: HealthOptions) -> Health:
        """A probe was answered."""
        probe_at = now + options.probe_interval_ms / 1000
        if self.state is HealthState.UP:
            settled = now - self.since >= options.probe_interval_ms / 1000
            return replace(self, failures=0, probe_at=probe_at, trips=0 if settled else self.trips)
        return replace(self, state=HealthState.UP, failures=0, faults=0, since=now, probe_at=probe_at, reason="")

    def probe_failed(self, now: float, options: HealthOptions, reason: str) -> Health:
        """A probe was not answered in time, or refused."""
        failures = self.failures + 1
        if self.state is HealthState.UP and failures < options.probe_failures:
            return replace(self, failures=failures, probe_at=now + options.retry_min_ms / 1000)
        if self.state is not HealthState.DOWN:
            return replace(self.tripped(now, options, reason), failures=failures)
        trips = self.trips + 1
        return replace(self, failures=failures, trips=trips, probe_at=now + _pause_s(trips, options), reason=reason)

    def tripped(self, now: float, options: HealthOptions, reason: str) -> Health:
        """Down from now on."""
        trips = self.trips + 1
        return Health(HealthState.DOWN, self.failures, 0, trips, now, now + _pause_s(trips, options), reason)

    def load_share(self, now: float, options: HealthOptions) -> float:
        """How much of its normal load the node should get now: 0 when down, rising to 1 after coming back."""
        if self.state is HealthState.DOWN:
            return 0.0
        if self.state is HealthState.NEW or not self.trips or not options.slow_start_ms:
            return 1.0
        return min(1.0, max(0.05, (now - self.since) * 1000 / options.slow_start_ms))


def _pause_s(trips: int, options: HealthOptions) -> float:
    doubled = options.retry_min_ms * 2.0 ** min(trips - 1, 20)
    return min(doubled, options.retry_max_ms) / 1000
