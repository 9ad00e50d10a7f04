"""Brings one fault upon the running cluster, watches what happens, and judges it."""

from __future__ import annotations

import contextlib
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import grpc
from faults.fault_judgement import FLOOR, Happened, Moments, excess, problems
from faults.fault_row import Fails, Row, Works
from faults.fault_stage import BACK_S, Stage

from harness.resources import Usage
from harness.traffic import Outcome
from harness.waiting import eventually


@dataclass
class Result:
    """One row, as it went."""

    row: Row
    seconds: float
    happened: Happened
    problems: list[str] = field(default_factory=list)


class Theatre:
    """Lends the stage, a new one after a fault that it did not recover from."""

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed
        self._open = contextlib.ExitStack()
        self._stage: Stage | None = None

    def __enter__(self) -> Theatre:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stage(self) -> Stage:
        """The stage, on which all is well."""
        if self._stage is not None:
            try:
                self._stage.wait_well()
            except AssertionError:
                self.close()
        if self._stage is None:
            folder = self._open.enter_context(tempfile.TemporaryDirectory(prefix="mishards-faults-"))
            self._stage = self._open.enter_context(Stage(Path(folder), seed=self._seed))
        return self._stage

    def close(self) -> None:
        """End every process."""
        self._stage = None
        self._open.close()


def perform(stage: Stage, row: Row, seconds: float, steady_s: float = 0.0) -> Result:
    """Bring a fault for so many seconds, with steady load before and after; what goes wrong is in the result."""
    before, began, observed = stage.usages(), stage.well_since, list[str]()
    works = [kind for kind, wanted in row.expected.items() if isinstance(wanted, Works)]
    struck = healing = healed = recovered = time.monotonic()
    try:
        _steady(stage, row, began, steady_s)
        struck = time.monotonic()
        try:
            with row.bring(stage, seconds):
                _last(stage, row, struck, seconds, works)
                healing = time.monotonic()
        finally:
            healing = healing if healing > struck else time.monotonic()
            healed = time.monotonic()
        stage.wait_well()
        stage.settle()
        recovered = stage.well_since
        _steady(stage, row, recovered, steady_s)
        observed += filter(None, [stage.loss(began)])
        observed += [f"{segment} is in the catalog and not in the folder" for segment in stage.half_written()]
    except (AssertionError, OSError, grpc.RpcError) as error:
        observed.append(str(error) or repr(error))
    after = _calmed(stage, before)
    moments = Moments(began, struck, healing, healed, max(recovered, healed), time.monotonic())
    happened = Happened(moments, stage.traffic.calls(began), before, after, observed)
    return Result(row, seconds, happened, problems(row.expected, happened))


def _steady(stage: Stage, row: Row, since: float, seconds: float) -> None:
    stage.traffic.wait_right(row.expected, FLOOR, since, BACK_S)
    eventually(lambda: time.monotonic() >= since + seconds, seconds + BACK_S, "time passes")


def _last(stage: Stage, row: Row, struck: float, seconds: float, works: list[str]) -> None:
    """Let the fault last for its time, and until there is enough to judge."""
    eventually(lambda: time.monotonic() >= struck + seconds, seconds + BACK_S, "time passes")
    stage.traffic.wait_right(works, FLOOR, struck, BACK_S)
    for kind, wanted in row.expected.items():
        if isinstance(wanted, Fails):
            eventually(partial(_has_failed, stage, kind, struck + wanted.after_s), BACK_S, f"{kind} fails")


def _has_failed(stage: Stage, kind: str, since: float) -> bool:
    return any(call.kind == kind and call.outcome is not Outcome.RIGHT for call in stage.traffic.calls(since))


def _calmed(stage: Stage, before: dict[str, Usage]) -> dict[str, Usage]:
    """What the programs hold once that is within the allowance, or in the end."""
    after = stage.usages()
    end = time.monotonic() + BACK_S / 2
    while excess(before, after) and time.monotonic() < end:
        stage.pause(0.2)
        after = stage.usages()
    return after
