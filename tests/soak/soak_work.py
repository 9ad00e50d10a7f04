"""The soak itself: faults in turns, chores and samples beside the load, and what it all came to."""

from __future__ import annotations

import contextlib
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import grpc
from faults.fault_row import Row
from faults.fault_stage import NAME, Stage
from faults.fault_table import ROWS
from soak.soak_chores import Chores
from soak.soak_content import differences
from soak.soak_flatness import Sample, Trend, trends

from harness.milvus1.client import NodeClient
from harness.resources import usages
from harness.traffic import Call, Outcome
from harness.waiting import eventually

_UPKEEP_S = 30.0
"""Between flushes and compactions of the collection that the load is on."""
_PRINT_S = 60.0
_GROWS = ("prometheus",)
"""It keeps what it has scraped in memory for two hours before it writes a block."""
_HOPELESS = 3
"""So many faults in a row of which the cluster does not recover end the soak."""


@dataclass(frozen=True)
class Plan:
    """What a seed decides, and for how long. Pauses and faults last a random time between two bounds."""

    seed: int
    seconds: float
    faults: int = 1 << 30
    """At most so many."""
    rows: Sequence[Row] = tuple(ROWS)
    """What faults are drawn from; those that cannot be had here are left out."""
    quiet_s: tuple[float, float] = (5.0, 15.0)
    fault_s: tuple[float, float] = (3.0, 30.0)
    sample_s: float = 5.0
    right_calls_per_s: float = 2.0
    """The floor under the calls that are answered rightly, over all."""

    def draw(self) -> Iterator[tuple[Row, float, float]]:
        """Faults with the quiet before each and how long it lasts: all that can be had here, in ever new orders."""
        chance = random.Random(self.seed)
        available = [row for row in self.rows if not row.missing()]
        while True:
            chance.shuffle(available)
            for row in available:
                longest = min(row.long_s, self.fault_s[1])
                yield row, chance.uniform(*self.quiet_s), chance.uniform(min(self.fault_s[0], longest), longest)


@dataclass
class Struck:
    """One fault, as it went; times in seconds since the soak began."""

    row: Row
    began: float
    healed: float = 0.0
    well: float = 0.0
    right: int = 0
    failed: int = 0
    repeated: int = 0
    problem: str = ""

    def __str__(self) -> str:
        return (
            f"{self.row.name}, {self.healed - self.began:.0f} s: {self.right} right, {self.repeated} repeated, "
            f"{self.failed} failed; all well {self.well - self.healed:.1f} s later {self.problem}"
        )


@dataclass
class Result:
    """What a soak came to."""

    plan: Plan
    began: float
    seconds: float = 0.0
    struck: list[Struck] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    disk: list[tuple[float, int]] = field(default_factory=list)
    """Bytes of the shared folder over time."""
    trends: list[Trend] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """In one line."""
        counts = Counter(call.outcome.value for call in self.calls)
        said = ", ".join(f"{counts[outcome.value]} {outcome.value}" for outcome in Outcome)
        return f"{self.seconds / 60:.1f} minutes, {len(self.struck)} faults, {len(self.calls)} calls: {said}"


class Soak:
    """One run on a stage whose load is under way."""

    def __init__(self, stage: Stage, plan: Plan, say: Callable[[str], None]) -> None:
        self._stage, self._plan, self._say = stage, plan, say
        self._result = Result(plan, time.monotonic())
        self._stopping = threading.Event()
        self._printed = 0.0

    def run(self, client_python: Path | None = None) -> Result:
        """Run to the end and judge; only a stage that is beyond help raises."""
        result = self._result
        with self._stage.client() as balanced, NodeClient(self._stage.cluster.routers[1].address, 8) as router:
            chores = Chores(balanced, router, self._plan.seed)
            with self._beside("chores", chores.cycle, 0.5), self._beside("samples", self._sample, self._plan.sample_s):
                with self._beside("upkeep", self._upkeep, _UPKEEP_S):
                    self._strike()
                result.seconds = self._now()
        result.calls = [*self._stage.traffic.calls(result.began), *chores.calls]
        self._say(f"{self._clock()} the load ends; comparing what is there with what must be")
        try:
            result.problems += self._content(chores, client_python)
        except (AssertionError, grpc.RpcError) as error:
            self._object(f"the content cannot be compared: {error!r}")
        result.trends = trends([sample for sample in result.samples if sample.name not in _GROWS])
        result.problems += self._judged()
        return result

    def _strike(self) -> None:
        hopeless = 0
        for number, (row, quiet, seconds) in enumerate(self._plan.draw(), 1):
            if (
                number > self._plan.faults
                or self._now() + quiet + seconds > self._plan.seconds
                or hopeless == _HOPELESS
            ):
                break
            self._be_quiet(quiet)
            struck = self._one(row, seconds)
            self._result.struck.append(struck)
            hopeless = hopeless + 1 if struck.problem else 0
            self._say(f"{self._clock()} fault {number}: {struck}")
        self._be_quiet(self._plan.quiet_s[1])

    def _one(self, row: Row, seconds: float) -> Struck:
        stage, since = self._stage, time.monotonic()
        struck = Struck(row, self._now())
        try:
            with row.bring(stage, seconds):
                eventually(lambda: time.monotonic() > since + seconds, seconds + 60, "time passes")
            struck.healed = self._now()
            stage.wait_well()
            stage.settle()
        except Exception as error:  # noqa: BLE001 - whatever comes of a fault is a finding, and the soak goes on
            struck.problem = f"{type(error).__name__}: {error}"
            self._object(f"{row.name}: {struck.problem}")
        struck.healed = struck.healed or self._now()
        struck.well = self._now()
        calls = stage.traffic.calls(since)
        struck.right = sum(call.outcome is Outcome.RIGHT for call in calls)
        struck.failed, struck.repeated = len(calls) - struck.right, sum(call.failures for call in calls)
        for call in calls:
            if call.outcome in (Outcome.WRONG, Outcome.ODD):
                self._object(f"{row.name}, at {call.began - since:.1f} s: {call}")
        return struck

    def _be_quiet(self, seconds: float) -> None:
        """Let the load run while all is well: every call of it must succeed."""
        since = time.monotonic()
        eventually(lambda: time.monotonic() > since + seconds, seconds + 60, "time passes")
        failed = [f"{c.kind}: {c.detail}" for c in self._stage.traffic.calls(since) if c.outcome is not Outcome.RIGHT]
        if failed:
            self._object(f"{len(failed)} calls failed while all was well: {failed[:3]}")

    @contextlib.contextmanager
    def _beside(self, name: str, act: Callable[[], None], pause_s: float) -> Iterator[None]:
        stopping = threading.Event()

        def run() -> None:
            try:
                while not stopping.wait(pause_s):
                    act()
            except Exception as error:  # noqa: BLE001 - a thread's top
                self._object(f"{name}: {error!r}, {traceback.format_exc(limit=-3)}")

        thread = threading.Thread(target=run, name=f"soak-{name}")
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join(120)
            assert not thread.is_alive(), f"{name} does not end"

    def _sample(self) -> None:
        programs = self._stage.programs
        for name, usage in usages(programs).items():
            if usage.resident:  # else it has just ended
                self._result.samples.append(Sample(self._now(), name, programs[name].pid, usage))
        if self._stage.disk is not None:
            self._result.disk.append((self._now(), self._stage.disk.used))
        if self._now() >= self._printed + _PRINT_S:
            self._printed = self._now()
            latest = {sample.name: sample.usage.resident >> 20 for sample in self._result.samples[-40:]}
            self._say(f"{self._clock()} {self._counts()}; MB: {latest}")

    def _counts(self) -> str:
        counts = Counter((call.kind, call.outcome.value) for call in self._stage.traffic.calls(self._result.began))
        return ", ".join(f"{times} {kind} {outcome}" for (kind, outcome), times in sorted(counts.items()))

    def _upkeep(self) -> None:
        with self._stage.client() as client, contextlib.suppress(grpc.RpcError):  # a fault; another time
            client.flush(NAME)
            client.on("Compact", NAME)

    def _content(self, chores: Chores, client_python: Path | None) -> list[str]:
        stage, address = self._stage, self._stage.cluster.address
        with stage.traffic.paused(), stage.client() as client:
            for name in chores.abandoned:
                eventually(partial(_is_gone, client, name), 60, f"{name} can be dropped")
            found = differences(address, NAME, stage.truth, client_python)
            for cycle in chores.kept:
                found += differences(address, cycle.name, cycle.truth, client_python)
        return found + [f"{segment} is in the catalog and not in the folder" for segment in stage.half_written()]

    def _judged(self) -> Iterator[str]:
        calls = self._result.calls
        for outcome, what in ((Outcome.WRONG, "wrong answers"), (Outcome.ODD, "errors that declare nothing")):
            those = [f"{call.kind}: {call.detail}" for call in calls if call.outcome is outcome]
            if those:
                yield f"{len(those)} {what}: {Counter(those).most_common(3)}"
        right = sum(call.outcome is Outcome.RIGHT for call in calls)
        floor = int(self._plan.right_calls_per_s * self._result.seconds)
        if right < floor:
            yield f"{right} calls were answered rightly, the floor is {floor}"
        yield from (str(trend) for trend in self._result.trends if not trend.is_flat)

    def _object(self, problem: str) -> None:
        """Note, and say at once, what is not as it must be."""
        self._result.problems.append(f"{self._clock()} {problem}")
        self._say(f"{self._clock()} WRONG: {problem}")

    def _now(self) -> float:
        return time.monotonic() - self._result.began

    def _clock(self) -> str:
        minutes, seconds = divmod(int(self._now()), 60)
        return f"[{minutes:2}:{seconds:02}]"


def _is_gone(client: NodeClient, name: str) -> bool:
    try:
        status = client.on("DropCollection", name)
    except grpc.RpcError:
        return False
    return not status.error_code or "exist" in status.reason
