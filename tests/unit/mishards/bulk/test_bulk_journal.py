"""What a journal knows after a crash."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mishards.bulk.journal import Journal
from mishards.errors import ResumeError

JOB = {"collection": "things", "block_rows": 3}


@settings(max_examples=20)
@given(st.lists(st.integers(0, 9), unique=True), st.integers(0, 10), st.integers(0, 10))
def test_after_a_crash_no_block_that_was_sent_counts_as_new_and_none_not_acknowledged_as_done(
    acknowledged: list[int], begun: int, saved: int
) -> None:
    """Blocks are begun in order, acknowledged in any; the process dies after so many acknowledgements were saved."""
    order = [number for number in acknowledged if number < begun]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "j.json"
        with Journal(path, JOB) as journal:
            for number in range(begun):
                journal.begin(number)
            for number in order[:saved]:
                journal.acknowledge(number, 1)
            journal.save()
            for number in order[saved:]:
                journal.acknowledge(number, 1)  # never written
        with Journal(path, JOB) as journal:
            known = set(order[:saved])
            assert journal.record.rows == len(known)
            for number in range(12):
                assert journal.is_done(number) == (number in known)
                assert journal.is_in_doubt(number) == (number < begun and number not in known)
            assert journal.record.done == next(number for number in range(12) if number not in known)


def test_a_journal_of_another_job_is_refused_by_what_differs(tmp_path: Path) -> None:
    Journal(tmp_path / "j", JOB).close()
    with pytest.raises(ResumeError, match="block_rows differ"):
        Journal(tmp_path / "j", {**JOB, "block_rows": 4})
    with Journal(tmp_path / "j", JOB) as journal:
        assert journal.resumed


def test_two_loads_never_share_a_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", JOB) as journal:
        for number in range(2):
            with pytest.raises(ResumeError, match="in use by another process"):
                Journal(tmp_path / "j", JOB)
            journal.begin(number)  # writes the file anew
    Journal(tmp_path / "j", JOB).close()


@pytest.mark.parametrize("content", ["{", "[]", '{"form": 2}', '{"form": 1, "speed": 1}', '{"form": 1}'])
def test_a_file_that_is_no_journal_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "j").write_text(content, encoding="utf-8")
    with pytest.raises(ResumeError, match="is no journal of a load"):
        Journal(tmp_path / "j", JOB)


def test_an_empty_file_is_a_journal_that_was_not_begun(tmp_path: Path) -> None:
    (tmp_path / "j").touch()
    with Journal(tmp_path / "j", JOB) as journal:
        assert not journal.resumed
    assert json.loads((tmp_path / "j").read_text(encoding="utf-8"))["job"] == JOB


def test_a_complete_journal_is_forgotten_only_when_asked(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", JOB) as journal:
        journal.begin(0)
        journal.acknowledge(0, 5)
        journal.save(complete=True)
    with Journal(tmp_path / "j", JOB) as journal:
        assert (journal.record.complete, journal.record.rows) == (True, 5)
    with Journal(tmp_path / "j", JOB, again=True) as journal:
        assert (journal.record.complete, journal.record.rows) == (False, 0)
    with Journal(tmp_path / "j", JOB) as journal:
        journal.forget()
    assert list(tmp_path.iterdir()) == []
