from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mishards.cluster.leader import Claim, leader_among

CLAIMS = st.none() | st.builds(Claim, st.booleans(), st.integers(0, 5))


def test_who_says_that_it_leads_takes_the_writes() -> None:
    assert leader_among([("a", Claim(False, 3)), ("b", Claim(True, 3)), ("c", None)]) == "b"


def test_of_two_that_say_so_the_later_epoch_is_believed() -> None:
    assert leader_among([("a", Claim(True, 4)), ("b", Claim(True, 3))]) == "a"
    assert leader_among([("a", Claim(True, 4)), ("b", Claim(True, 10))]) == "b"


def test_nodes_that_elect_nobody_are_taken_in_their_order() -> None:
    assert leader_among([("a", None), ("b", None)]) == "a"
    assert leader_among([]) is None


def test_where_all_stand_by_nobody_takes_writes() -> None:
    assert leader_among([("a", Claim(False)), ("b", Claim(False))]) is None


@given(st.lists(CLAIMS, max_size=5))
def test_a_standby_is_never_chosen(claims: list[Claim | None]) -> None:
    named = [(str(number), claim) for number, claim in enumerate(claims)]
    chosen = leader_among(named)
    assert chosen is None or dict(named)[chosen] != Claim(False, 0)
    if chosen is not None:
        claim = dict(named)[chosen]
        assert claim is None or claim.leading


@pytest.mark.parametrize("answer", ["Unknown command", "[]", "{}", '{"leading": true, "epoch": "x", "leader": ""}'])
def test_what_is_no_claim_is_none(answer: str) -> None:
    assert Claim.parse(answer) is None


def test_a_claim_is_read() -> None:
    assert Claim.parse('{"leading": true, "epoch": 7, "leader": "a", "more": 1}') == Claim(True, 7, "a")
