from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mishards.deadline import Deadline
from mishards.errors import Code
from mishards.logs.calls import Served
from mishards.query.slow import SlowSearches
from mishards.transport.api import Call, NodeCall

WINDOW_S = 100.0


def served(seconds: float, method: str = "Search", **notes: object) -> Served:
    call = Call(method, b"", (), Deadline.never())
    call.notes.update(notes)
    return Served(call, f"r-{seconds:g}", Code.SUCCESS, "", seconds)


def names(slow: SlowSearches, now: float = 0.0) -> list[str]:
    return [search.request_id for search in slow.slowest(now)]


def test_a_search_is_described_by_what_was_noted() -> None:
    ended = served(
        0.25,
        collection="words",
        nq=3,
        topk=10,
        attempts=2,
        failovers=1,
        get_routing_ms=1.5,
        do_search_ms=240.0,
        trace_id="abc",
        consistency="session",
    )
    ended.call.node_calls.append(NodeCall("reader-1", "SearchInFiles", 0.2, "ok"))
    slow = SlowSearches()
    slow.ended(ended)
    (search,) = slow.slowest(0)
    assert (search.method, search.collection, search.nq, search.topk) == ("Search", "words", 3, 10)
    assert (search.ms, search.outcome) == (250.0, "SUCCESS")
    assert (search.request_id, search.trace_id) == ("r-0.25", "abc")
    assert search.stages_ms == {"get_routing": 1.5, "do_search": 240.0}
    assert [(call.node, call.method, call.seconds, call.outcome) for call in search.node_calls] == [
        ("reader-1", "SearchInFiles", 0.2, "ok")
    ]
    assert (search.attempts, search.retries, search.failovers, search.hedges) == (2, 0, 1, 0)


def test_only_searches_are_kept() -> None:
    slow = SlowSearches()
    for method in ("Insert", "Flush", "Cmd", "SearchByID", "SearchInFiles"):
        slow.ended(served(1.0, method))
    assert sorted(search.method for search in slow.slowest(0)) == ["SearchByID", "SearchInFiles"]


def test_the_quickest_goes_when_a_slower_one_comes() -> None:
    slow = SlowSearches(size=2, window_s=WINDOW_S)
    assert [slow.offer(served(seconds), 0.0) for seconds in (0.2, 0.1, 0.05, 0.1, 0.3)] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert names(slow) == ["r-0.3", "r-0.2"]


def test_old_ones_make_room() -> None:
    slow = SlowSearches(size=1, window_s=WINDOW_S)
    slow.offer(served(9.0), 0.0)
    assert not slow.offer(served(1.0), WINDOW_S - 1)
    assert slow.offer(served(0.5), WINDOW_S)
    assert names(slow, WINDOW_S) == ["r-0.5"]
    assert names(slow, 2 * WINDOW_S) == []


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 60)), max_size=40), st.integers(1, 4))
def test_the_list_is_what_a_naive_one_would_be(searches: list[tuple[int, int]], size: int) -> None:
    slow, now = SlowSearches(size, WINDOW_S), 0.0
    naive: list[tuple[int, float]] = []
    for seconds, passed in searches:
        now += passed
        slow.offer(served(float(seconds)), now)
        naive = [(s, at) for s, at in naive if at + WINDOW_S > now]
        if len(naive) < size:
            naive.append((seconds, now))
        elif seconds > min(naive)[0]:
            naive.remove(min(naive, key=lambda kept: kept[0]))
            naive.append((seconds, now))
    assert [search.ms / 1000 for search in slow.slowest(now)] == sorted((s for s, _ in naive), reverse=True)
