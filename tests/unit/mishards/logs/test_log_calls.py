from __future__ import annotations

import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mishards.deadline import Deadline
from mishards.errors import Code
from mishards.logs.calls import AccessLog, RequestIds, Sampler, Served, facts_of
from mishards.logs.options import LogOptions
from mishards.transport.api import Call, Metadata


def call(method: str = "Search", metadata: Metadata = ()) -> Call:
    return Call(method, b"12345", metadata, Deadline.never(), "ipv4:127.0.0.1:5")


def served(code: Code | int | None = Code.SUCCESS, reason: str = "OK", method: str = "Search") -> Served:
    return Served(call(method), "r-1", code, reason, 0.0123)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "mishards.access"]


TOLD = [("request_id", "mine/7"), ("x-request-id", "mine/7")]


@pytest.mark.parametrize(("key", "told"), [("request_id", []), ("x-request-id", TOLD)])
def test_the_callers_id_goes_on_with_the_call_and_back_unless_it_came_as_milvus_names_it(
    key: str, told: list[tuple[str, str]]
) -> None:
    made = call(metadata=[("a", "b"), (key, "mine/7")])
    ids = RequestIds()
    assert [ids.assign(made), ids.assign(made)] == ["mine/7", "mine/7"]
    assert list(made.metadata) == [("a", "b"), ("request_id", "mine/7")]
    assert made.reply_metadata == told


def test_who_sent_an_id_that_cannot_be_used_is_told_the_new_one() -> None:
    made = call(metadata=[("request_id", "two words")])
    assigned = RequestIds().assign(made)
    assert made.reply_metadata == [("request_id", assigned), ("x-request-id", assigned)]


def test_of_two_ids_the_protocols_own_wins() -> None:
    both = [("request_id", "a"), ("x-request-id", "b")]
    for metadata in (both, both[::-1]):
        assert RequestIds().assign(call(metadata=metadata)) == "a"


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", "a\nlevel=ERROR", "ümlaut"])
def test_an_id_that_would_spoil_the_log_is_replaced(given: str) -> None:
    made = call(metadata=[("x-request-id", given)])
    assigned = RequestIds().assign(made)
    assert re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", assigned)
    assert list(made.metadata) == [("request_id", assigned)]


def test_no_two_calls_are_given_the_same_id() -> None:
    first, second = RequestIds(), RequestIds()
    assert len({ids.assign(call()) for ids in (first, second) for _ in range(100)}) == 200


def test_a_line_says_what_was_asked_what_happened_and_nothing_the_client_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    done = served(Code.ILLEGAL_TOPK, "topk 0 is not allowed")
    done.call.metadata = (("authorization", "Bearer secret"),)
    done.call.notes.update(collection="two words", nq=2, topk=0, get_routing_ms=1.2345)
    AccessLog(LogOptions()).ended(done)
    assert lines(caplog) == [
        "rpc method=Search request_id=r-1 peer=ipv4:127.0.0.1:5 bytes=5 collection='two words' nq=2 topk=0 "
        "get_routing_ms=1.23 ms=12.30 code=10 reason='topk 0 is not allowed'"
    ]


def test_a_call_without_an_answer_is_cancelled() -> None:
    assert facts_of(served(None, ""))["code"] == "cancelled"
    assert served(None).outcome == "CANCELLED"
    assert served(Code.META_FAILED).outcome == "META_FAILED"
    assert served(99).outcome == "99"


def test_lines_can_be_turned_off(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    AccessLog(LogOptions(requests=False)).ended(served())
    assert not lines(caplog)


def test_quiet_methods_are_logged_only_when_they_fail_or_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    log = AccessLog(LogOptions(), frozenset({"Cmd"}))
    caplog.set_level(logging.INFO)
    log.ended(served(method="Cmd"))
    assert not lines(caplog)
    log.ended(served(Code.META_FAILED, "away", method="Cmd"))
    caplog.set_level(logging.DEBUG)
    log.ended(served(method="Cmd"))
    assert len(lines(caplog)) == 2


def test_when_many_come_the_lines_are_a_sample_that_says_how_many_it_leaves_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    log = AccessLog(LogOptions(requests_per_s=10))
    for second in range(5):
        monkeypatch.setattr("mishards.logs.calls.time.monotonic", lambda second=second: float(second))
        for _ in range(1000):
            log.ended(served())
        log.ended(served(Code.META_FAILED, "away"))
    written = lines(caplog)
    failures = [line for line in written if "code=15" in line]
    assert len(failures) == 5
    assert 5 * 9 <= len(written) - len(failures) <= 5 * 20
    skipped = sum(int(found[1]) for line in written if (found := re.search(r"skipped=(\d+)", line)))
    assert 4900 <= skipped <= log.skipped == 5005 - len(written)


@given(st.integers(1, 20), st.lists(st.integers(0, 200), max_size=10))
def test_few_lines_are_all_written_and_many_never_more_than_twice_the_limit(limit: int, loads: list[int]) -> None:
    sampler = Sampler(limit)
    before = 0
    for second, load in enumerate(loads):
        written = sum(sampler.admits(second + place / (load + 1)) for place in range(load))
        assert written <= 2 * limit
        if load <= limit and before <= limit:
            assert written == load
        before = load


def test_without_a_limit_every_line_is_written() -> None:
    assert all(Sampler(0).admits(0.0) for _ in range(1000))
