"""What every elector must do; subclass and say how yours is made.

A plugin's own test module subclasses ``ElectionSuite``, gives the fixture ``backend`` and inherits the tests.
"""

# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from itertools import pairwise

from mishards.election.api import Candidate, Elector, Leadership, clock
from mishards.errors import ElectionError
from mishards.testing.waiting import eventually

WAIT_S = 30.0

LONG_S = 20.0
"""A lease that no busy machine makes anybody lose."""

SHORT_S = 1.5
"""A lease that runs out within a test."""


class ElectionBackend(ABC):
    """A place where candidates meet, empty at first; closes the electors that it made."""

    @abstractmethod
    def elector(self, candidate: Candidate, lease_s: float = LONG_S) -> Elector:
        """A candidate's elector with a lease of about this time, renewed several times a second."""

    @abstractmethod
    def cut_off(self, elector: Elector) -> None:
        """Let the elector reach its backend no more, and hear of nothing."""

    @abstractmethod
    def reconnect(self, elector: Elector) -> None:
        """Undo ``cut_off``."""


def candidate(number: int) -> Candidate:
    """One of many."""
    return Candidate(f"node-{number}", f"10.0.0.{number}:19530")


def elected(elector: Elector, timeout_s: float = WAIT_S) -> Leadership:
    """Try until the elector's candidate leads."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            leadership = elector.attempt()
        except ElectionError:
            leadership = None
        if leadership is not None:
            return leadership
        assert time.monotonic() < end, "the candidate is not elected"
        elector.wait(0.1)


def refused(elector: Elector) -> bool:
    """Does an attempt end without a leadership, for whatever reason?"""
    try:
        return elector.attempt() is None
    except ElectionError:
        return True


class ElectionSuite:
    """The rules of ``Elector`` and ``Leadership``."""

    def test_the_first_candidate_leads_and_can_prove_it(self, backend: ElectionBackend) -> None:
        """One candidate, and nobody else."""
        elector = backend.elector(candidate(1))
        leadership = elected(elector)
        assert leadership.wait_proven(WAIT_S)
        assert not leadership.wait_lost(0)
        assert elector.leader == candidate(1)

    def test_while_one_leads_no_other_does_and_the_others_know_who(self, backend: ElectionBackend) -> None:
        """Two candidates."""
        first, second = backend.elector(candidate(1)), backend.elector(candidate(2))
        leadership = elected(first)
        for _ in range(5):
            assert refused(second)
        assert leadership.wait_proven(0)
        eventually(lambda: refused(second) and second.leader == candidate(1), WAIT_S)

    def test_a_leadership_is_proven_again_and_again(self, backend: ElectionBackend) -> None:
        """Renewals."""
        leadership = elected(backend.elector(candidate(1)))
        before = leadership.proven_until
        eventually(lambda: leadership.proven_until > before, WAIT_S)
        again = leadership.proven_until
        eventually(lambda: leadership.proven_until > again, WAIT_S)
        assert not leadership.wait_lost(0)

    def test_who_resigns_leads_no_more_and_is_succeeded_at_once(self, backend: ElectionBackend) -> None:
        """An orderly end."""
        first, second = backend.elector(candidate(1)), backend.elector(candidate(2))
        leadership = elected(first)
        assert refused(second)
        leadership.resign()
        leadership.resign()
        assert leadership.wait_lost(0)
        assert not leadership.wait_proven(0)
        assert leadership.proven_until <= clock()
        assert elected(second).wait_proven(WAIT_S)

    def test_a_candidate_leads_again_after_it_resigned(self, backend: ElectionBackend) -> None:
        """One elector, many terms."""
        elector = backend.elector(candidate(1))
        first = elected(elector)
        first.resign()
        second = elected(elector)
        assert second.wait_proven(WAIT_S)
        assert first.wait_lost(0)

    def test_a_leader_that_falls_silent_is_succeeded_only_after_its_proof_has_ended(
        self, backend: ElectionBackend
    ) -> None:
        """A partition: the one thing that leaders are elected for."""
        first, second = backend.elector(candidate(1), SHORT_S), backend.elector(candidate(2), SHORT_S)
        old = elected(first)
        backend.cut_off(first)
        new = elected(second)
        assert old.proven_until <= clock()
        assert not old.wait_proven(0)
        backend.reconnect(first)
        assert old.wait_lost(WAIT_S)
        assert new.wait_proven(WAIT_S)

    def test_a_leader_cut_off_while_nobody_else_stands_leads_on_or_may_lead_again(
        self, backend: ElectionBackend
    ) -> None:
        """An outage of the backend."""
        elector = backend.elector(candidate(1), SHORT_S)
        leadership = elected(elector)
        backend.cut_off(elector)
        eventually(lambda: not leadership.wait_proven(0), WAIT_S)
        backend.reconnect(elector)
        if leadership.wait_lost(1) or not leadership.wait_proven(WAIT_S):
            leadership = elected(elector)
        assert leadership.wait_proven(WAIT_S)

    def test_of_many_candidates_one_leads_at_a_time(self, backend: ElectionBackend) -> None:
        """Candidates that resign and try again, all at once; no two proofs overlap."""
        spans: list[tuple[float, float]] = []
        lock = threading.Lock()

        def run(elector: Elector) -> None:
            for _ in range(2):
                leadership = elected(elector)
                began = clock()
                proven = leadership.wait_proven(0)
                ended = clock()
                leadership.resign()
                if proven:
                    with lock:
                        spans.append((began, ended))

        threads = [threading.Thread(target=run, args=(backend.elector(candidate(n)),)) for n in range(1, 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * WAIT_S)
            assert not thread.is_alive()
        ordered = sorted(spans)
        assert ordered
        for (_, ended), (began, _) in pairwise(ordered):
            assert ended <= began

    def test_closing_resigns_and_may_be_repeated(self, backend: ElectionBackend) -> None:
        """The end of a process."""
        first, second = backend.elector(candidate(1)), backend.elector(candidate(2))
        leadership = elected(first)
        first.close()
        first.close()
        assert leadership.wait_lost(0)
        assert elected(second).wait_proven(WAIT_S)

    def test_what_was_never_elected_can_be_closed(self, backend: ElectionBackend) -> None:
        """A candidate that stops before it tried."""
        backend.elector(candidate(1)).close()
