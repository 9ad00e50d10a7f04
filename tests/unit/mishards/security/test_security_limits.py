"""Token buckets against arithmetic, and what they remember."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mishards.security.limits import ClientLimits


@given(st.floats(0.5, 50), st.integers(1, 20), st.lists(st.floats(0, 2), min_size=1, max_size=60))
def test_no_span_of_time_has_more_calls_than_the_burst_and_its_share(
    rate: float, burst: int, pauses: list[float]
) -> None:
    limits, now, admitted = ClientLimits(rate, burst, 0), 0.0, list[float]()
    for pause in pauses:
        now += pause
        if not limits.enter("a", now):
            limits.leave("a")
            admitted.append(now)
    assert admitted
    for first, begin in enumerate(admitted):
        for last in range(first, len(admitted)):
            assert last - first + 1 <= burst + (admitted[last] - begin) * rate + 1e-6


def test_calls_under_way_are_counted_and_counted_out() -> None:
    limits = ClientLimits(0, 1, 2)
    assert limits.limited
    assert not ClientLimits(0, 1, 0).limited
    assert [bool(limits.enter("a", 0)) for _ in range(3)] == [False, False, True]
    limits.leave("a")
    assert not limits.enter("a", 0)


def test_what_is_remembered_of_clients_is_bounded_and_never_forgets_one_under_way() -> None:
    limits = ClientLimits(1, 1, 0, most_clients=10)
    assert not limits.enter("busy", 0)
    for number in range(100):
        assert not limits.enter(f"client {number}", number)
        limits.leave(f"client {number}")
    assert len(limits) == 10
    limits.leave("busy")
