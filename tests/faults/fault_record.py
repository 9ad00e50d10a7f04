"""How a row went, as one JSON file a row, so that the report can be made of runs at different times."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from faults.fault_judgement import longest_outage
from faults.fault_runner import Result

from harness.resources import Usage
from harness.traffic import Call, Outcome


@dataclass(frozen=True)
class Record:
    """What the report says of one row. Times in seconds, 0 is the moment at which the fault began."""

    number: int
    name: str
    how: str
    problems: Sequence[str]
    began: float
    healing: float
    recovered: float
    ended: float
    calls: Sequence[Call]
    before: Mapping[str, Usage]
    after: Mapping[str, Usage]
    skipped: str = ""

    @property
    def outage(self) -> float:
        """The longest time, until all was back, in which no search was answered rightly."""
        return longest_outage(self.calls, 0.0, self.recovered)


def record_of(result: Result) -> Record:
    """A row that was performed."""
    row, happened, moments = result.row, result.happened, result.happened.moments
    zero = moments.struck
    calls = [
        Call(call.kind, call.began - zero, call.ended - zero, call.outcome, call.detail, call.failures)
        for call in happened.calls
    ]
    return Record(
        row.number,
        row.name,
        _sentence(row.bring.__doc__),
        result.problems,
        moments.began - zero,
        moments.healing - zero,
        moments.recovered - zero,
        moments.ended - zero,
        calls,
        happened.before,
        happened.after,
    )


def skipped(number: int, name: str, how: str | None, why: str) -> Record:
    """A row whose tool this machine does not have."""
    return Record(number, name, _sentence(how), (), 0, 0, 0, 0, (), {}, {}, why)


def _sentence(docstring: str | None) -> str:
    return " ".join(textwrap.dedent(docstring or "").split())


def write(record: Record, folder: Path) -> None:
    """Keep a record, in place of an older one of the same row."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = asdict(record)
    fields["calls"] = [
        [call.kind, round(call.began, 4), round(call.ended, 4), call.outcome.value, call.detail, call.failures]
        for call in record.calls
    ]
    (folder / f"row-{record.number:02}.json").write_text(json.dumps(fields), encoding="utf-8")


def read(folder: Path) -> list[Record]:
    """Every record of a folder, by number."""
    return [_decoded(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("row-*.json"))]


def _decoded(text: str) -> Record:
    fields = json.loads(text)
    fields["calls"] = [
        Call(kind, began, ended, Outcome(outcome), detail, failures)
        for kind, began, ended, outcome, detail, failures in fields["calls"]
    ]
    for when in ("before", "after"):
        fields[when] = {name: Usage(**usage) for name, usage in fields[when].items()}
    return Record(**fields)


def happened(record: Record, first: float, end: float) -> list[Call]:
    """The calls of a record that began in a span of time."""
    return [call for call in record.calls if first <= call.began < end]
