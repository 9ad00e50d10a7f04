"""The judge of faults is judged: each thing that may not happen is seen, and the report shows what happened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from faults.fault_judgement import FLOOR, Happened, Moments, excess, longest_outage, problems
from faults.fault_record import read, record_of, skipped, write
from faults.fault_report import write_report
from faults.fault_row import ALL_WORK, Expected, Fails, May, Row, Works
from faults.fault_runner import Result
from faults.fault_table import ROWS
from faults.rows_of_processes import node_killed

from harness.resources import Usage
from harness.traffic import DELETE, INSERT, SEARCH, STRONG, Call, Outcome

MOMENTS = Moments(began=100, struck=110, healing=120, healed=121, recovered=125, ended=135)
KINDS = (SEARCH, STRONG, INSERT, DELETE)


def calls(kind: str, first: int, end: int, outcome: Outcome = Outcome.RIGHT, detail: str = "") -> list[Call]:
    """A call each half second."""
    moments = [first + half / 2 for half in range(2 * (end - first))]
    return [Call(kind, moment, moment + 0.01, outcome, detail) for moment in moments]


def all_right(first: int = 100, end: int = 135) -> list[Call]:
    return [call for kind in KINDS for call in calls(kind, first, end)]


def found(made: list[Call], expected: Expected = ALL_WORK) -> str:
    return "; ".join(problems(expected, Happened(MOMENTS, made)))


def test_nothing_is_found_where_every_call_succeeded() -> None:
    assert not found(all_right())


@pytest.mark.parametrize(("first", "end", "said"), [(100, 110, "before"), (110, 120, "only"), (125, 135, "after")])
def test_nothing_happened_is_no_success(first: int, end: int, said: str) -> None:
    quiet = [call for call in all_right() if not first <= call.began < end]
    assert f"{said}" in found(quiet)
    assert f"the floor is {FLOOR}" in found(quiet)


@pytest.mark.parametrize("moment", [105, 115, 123, 130])
def test_a_wrong_answer_is_a_fault_at_any_time_and_whatever_is_expected(moment: int) -> None:
    anything: Expected = dict.fromkeys(KINDS, May())
    for outcome, said in ((Outcome.WRONG, "1 wrong answers"), (Outcome.ODD, "1 errors that declare nothing")):
        assert said in found([*all_right(), Call(SEARCH, moment, moment + 1, outcome, "bad")], anything)


def test_errors_are_counted_against_what_is_expected() -> None:
    made = [*all_right(), *calls(INSERT, 112, 114, Outcome.FAILED, "away")]
    assert "insert: 20 of 24 succeeded, expected 100.0%; 4 x away" in found(made)
    assert not found(made, {**ALL_WORK, INSERT: Works(0.8)})
    assert not found(made, {**ALL_WORK, INSERT: May()})
    assert "insert after the fault" in found([*all_right(), *calls(INSERT, 126, 127, Outcome.FAILED, "x")])


def test_repetitions_are_counted_where_none_may_be_needed() -> None:
    made = [
        replace(call, failures=1) if call.kind == SEARCH and 110 <= call.began < 112 else call for call in all_right()
    ]
    assert "search: 16 of 20 succeeded at once, expected 100.0%" in found(made)
    assert not found(made, {**ALL_WORK, SEARCH: Works()})


def test_what_must_fail_must_fail_and_say_why() -> None:
    full: Expected = {**ALL_WORK, INSERT: Fails("no space", after_s=1)}
    others = [call for call in all_right() if call.kind != INSERT or not 111 <= call.began < 120]
    assert "insert: no call ended while the fault lasted" in found(others, full)
    assert not found([*others, *calls(INSERT, 112, 114, Outcome.FAILED, "no space left")], full)
    assert "errors do not say 'no space', 4 x oops" in found(
        [*others, *calls(INSERT, 112, 114, Outcome.FAILED, "oops")], full
    )
    assert "succeeded, expected none" in found(all_right(), full)


def test_more_than_the_allowance_is_held_afterwards() -> None:
    before = {"node": Usage(20, 50, 100 << 20), "gone": Usage(1, 1, 1)}
    assert not excess(before, {"node": Usage(28, 62, 148 << 20), "new": Usage(9, 9, 9)})
    assert excess(before, {"node": Usage(29, 63, 149 << 20)}) == [
        "node: 20 threads became 29, 50 descriptors became 63, 100 MB became 149"
    ]


def test_the_longest_outage_is_the_longest_time_without_a_right_search() -> None:
    made = [call for call in all_right() if not 113 <= call.began < 117]
    assert longest_outage(made, 110, 125) == pytest.approx(4.5)
    assert longest_outage([], 110, 125) == 15


def test_a_report_shows_every_row(tmp_path: Path) -> None:
    made = [*all_right(), *calls(SEARCH, 112, 114, Outcome.WRONG, "<id 3 is missing>")]
    happened = Happened(MOMENTS, made, {"node": Usage(20, 50, 100 << 20)}, {"node": Usage(21, 51, 101 << 20)})
    row = Row(1, "a node is killed", node_killed, 1, 2)
    write(record_of(Result(row, 2, happened, problems(ALL_WORK, happened))), tmp_path)
    write(record_of(Result(replace(row, number=2), 2, Happened(MOMENTS, all_right()))), tmp_path)
    write(skipped(3, "no tool", "How.", "only root may"), tmp_path)
    page = write_report(read(tmp_path), tmp_path, "Made today.").read_text(encoding="utf-8")
    assert "1 of 2 faults survived, 1 could not be brought here" in page
    assert page.count("<svg") == 2
    for text in ("&lt;id 3 is missing&gt;", "SIGKILL of a read-only node.", "20→21", "only root may", "Made today."):
        assert text in page
    assert "$" not in page


def test_the_table_has_each_row_once() -> None:
    assert [row.number for row in ROWS] == list(range(1, 25))
    assert all(row.short_s < row.long_s for row in ROWS)
