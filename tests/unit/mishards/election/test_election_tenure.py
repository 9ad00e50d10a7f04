from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.waiting import eventually
from mishards.election import process
from mishards.election.alone import UncontestedElector
from mishards.election.api import Candidate, ElectionOptions, clock, decode, encode
from mishards.election.database import DatabaseElector
from mishards.election.select import elector_for
from mishards.election.tenure import SURE, Tenure
from mishards.election.watched import Watched
from mishards.errors import ElectionError, PluginError

WAIT_S = 20.0
ME = Candidate("node", "10.0.0.1:19530")


class Lease:
    """A lease that is renewed, refused, or does not answer."""

    def __init__(self) -> None:
        self.answer: bool | ElectionError = True
        self.renewals = 0
        self.returned = 0
        self._asked = threading.Condition()

    def renew(self) -> bool:
        with self._asked:
            self.renewals += 1
            self._asked.notify_all()
        if isinstance(self.answer, ElectionError):
            raise self.answer
        return self.answer

    def give_back(self) -> None:
        self.returned += 1
        if isinstance(self.answer, ElectionError):
            raise self.answer


@pytest.fixture
def lease() -> Lease:
    return Lease()


@pytest.fixture
def tenure(lease: Lease) -> Iterator[Tenure]:
    made = Tenure(lease.renew, lease.give_back, asked_at=clock(), lease_s=0.3, renew_s=0.05)
    yield made
    made.resign()


def test_a_proof_counts_from_before_the_lease_was_asked_for(lease: Lease) -> None:
    asked_at = clock() - 5
    tenure = Tenure(lease.renew, lease.give_back, asked_at=asked_at, lease_s=10, renew_s=60)
    assert tenure.proven_until == pytest.approx(asked_at + 10 * SURE)
    tenure.resign()


def test_a_lease_that_does_not_answer_is_unproven_and_proven_again_when_it_was_not_taken(
    lease: Lease, tenure: Tenure
) -> None:
    lease.answer = ElectionError("away")
    eventually(lambda: not tenure.wait_proven(0), WAIT_S, "the proof ends")
    assert not tenure.wait_lost(0)
    lease.answer = True
    assert tenure.wait_proven(WAIT_S)
    assert not tenure.wait_lost(0)


def test_a_lease_that_another_one_holds_is_lost_for_good(lease: Lease, tenure: Tenure) -> None:
    lease.answer = False
    assert tenure.wait_lost(WAIT_S)
    assert not tenure.wait_proven(0)
    lease.answer = True
    assert not tenure.wait_proven(0.1)
    tenure.resign()
    assert not lease.returned  # it is somebody else's


def test_resigning_gives_the_lease_back_once_even_where_nobody_hears_it(lease: Lease, tenure: Tenure) -> None:
    lease.answer = ElectionError("away")
    tenure.resign()
    tenure.resign()
    assert lease.returned == 1
    assert tenure.wait_lost(0)


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 2)), max_size=20))
def test_a_record_has_run_out_only_when_it_stood_for_the_whole_lease(steps: list[tuple[int, float]]) -> None:
    watched = Watched(3.0)
    now, since, last = 0.0, 0.0, None
    for record, pause in steps:
        now += pause
        if record != last:
            since, last = now, record
        assert watched.has_run_out(record, now) == (now - since >= 3.0)
        assert watched.pause_s(now, 6.0) == pytest.approx(max(0.02, since + 3.0 - now))
        assert watched.pause_s(now, 1.0) == pytest.approx(min(0.5, max(0.02, since + 3.0 - now)))


def test_this_process_lives_and_one_that_ended_is_dead() -> None:
    assert not process.is_dead(process.identity())
    code = "from mishards.election.process import identity; print(identity())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.is_dead(ended.stdout.strip())


def test_of_another_machine_container_or_format_nothing_is_said() -> None:
    boot, namespace, pid, started = process.identity().split()
    for words in (
        ["another", namespace, "1", "1"],
        [boot, "1", "1", "1"],
        [boot, namespace, "word", started],
        [boot, namespace, pid],
        [],
    ):
        assert not process.is_dead(" ".join(words))
    assert process.is_dead(f"{boot} {namespace} {os.getpid()} 1")  # the same id, but another start


def test_candidates_are_read_as_they_were_written() -> None:
    assert decode(encode(ME, "token")) == ME
    assert decode("") is None
    assert str(ME) == "node at 10.0.0.1:19530"
    assert str(Candidate("a:1", "a:1")) == "a:1"
    with pytest.raises(ElectionError, match="is no record of a leader"):
        decode("[]")


def test_the_address_says_where_to_elect() -> None:
    options = ElectionOptions()
    alone = elector_for("none", "sqlite:////nowhere", ME, options)
    assert isinstance(alone, UncontestedElector)
    leadership = alone.attempt()
    assert leadership is not None
    alone.wait(0)
    assert alone.leader == ME
    assert leadership.wait_proven(0)
    assert leadership.proven_until > clock()
    leadership.resign()
    assert leadership.wait_lost(0)
    assert leadership.proven_until < clock()
    alone.close()
    database = elector_for("database", "sqlite:////nowhere/meta.sqlite", ME, options)
    assert isinstance(database, DatabaseElector)
    with pytest.raises(ElectionError, match="the lease in the metadata database cannot be had"):
        database.attempt()
    assert database.leader is None
    database.close()
    with pytest.raises(PluginError, match="does not name a plugin"):
        elector_for("word", "", ME, options)
