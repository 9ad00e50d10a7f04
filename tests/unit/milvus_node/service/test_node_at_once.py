"""Calls that a node's dispatcher begins without a task."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from harness.waiting import eventually_async
from milvus_node.service.dispatch import Dispatcher, Route, RunningCalls
from milvus_node.service.jobs import Share
from milvus_node.service.pools import Pool
from mishards.deadline import Deadline
from mishards.errors import Code, DeadlineExceeded, IllegalRows, MishardsError
from mishards.logs.calls import Served
from mishards.security.guard import Guard
from mishards.security.options import SecurityOptions
from mishards.transport.api import Call, GiveUp
from mishards.wire.replies import OK_FIELD, status_of

WAIT_S = 20.0


class Node:
    """A dispatcher that answers a search with its request; one thread, which can be held."""

    def __init__(self, guard: Guard | None = None) -> None:
        self.pool = Pool("search", 1, 2)
        self.running = RunningCalls()
        self.ended: list[Served] = []
        self.failure: Exception | None = None
        self.work: Callable[[], None] = lambda: None
        self.begun, self.free = threading.Event(), threading.Event()
        routes = {
            "Search": Route(lambda call: b"usual " + call.request, self.pool, self._again),
            "Cmd": Route(lambda _: b"cmd", self.pool),
        }
        self.dispatcher = Dispatcher(routes, self.running, ended=(self.ended.append,), guard=guard)
        self.told: list[tuple[bytes, MishardsError | None]] = []

    def _again(self, call: Call) -> Share[bytes] | None:
        return Share("key", 1, call.request, self._together) if call.request != b"new" else None

    def _together(self, items: Sequence[bytes]) -> list[bytes]:
        self.work()
        if self.failure is not None:
            raise self.failure
        return [OK_FIELD + item for item in items]

    def hold(self) -> None:
        self.begun.set()
        assert self.free.wait(WAIT_S)

    async def held(self) -> asyncio.Task[None]:
        """Occupy the only thread."""
        task = asyncio.create_task(self.pool.run(self.hold))
        await asyncio.to_thread(self.begun.wait, WAIT_S)
        return task

    def begin(self, request: bytes = b"one", method: str = "Search") -> GiveUp | None:
        call = Call(method, request, (), Deadline.after(WAIT_S))
        return self.dispatcher.begin(call, lambda reply, error: self.told.append((reply, error)))

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        async def look() -> bool:
            return holds()

        await eventually_async(look, WAIT_S, what)

    async def answered(self, request: bytes = b"one") -> tuple[bytes, MishardsError | None]:
        assert self.begin(request) is not None
        await self.until(lambda: bool(self.told), "the outcome is told")
        return self.told.pop()


@pytest.fixture
def node() -> Iterator[Node]:
    found = Node()
    yield found
    found.free.set()
    found.pool.close()


async def test_a_call_like_one_before_is_answered_without_a_task(node: Node) -> None:
    before = asyncio.all_tasks()
    assert node.begin() is not None
    assert asyncio.all_tasks() == before
    assert node.running.names(without="Cmd") == ["Search-1"]
    assert node.told == []
    await node.until(lambda: bool(node.told), "the outcome is told")
    assert node.told == [(OK_FIELD + b"one", None)]
    assert node.running.names(without="Cmd") == []
    assert node.pool.admitted == 0
    (served,) = node.ended
    assert served.code is Code.SUCCESS
    assert {"wait_ms", "check_ms", "search_ms"} <= served.call.notes.keys()


async def test_what_is_not_like_one_before_and_what_has_no_short_way_is_left_to_the_usual_one(node: Node) -> None:
    assert node.begin(b"new") is None
    assert node.begin(b"", "Cmd") is None
    assert node.begin(b"", "NoSuchMethod") is None
    assert node.running.names(without="Cmd") == []
    assert node.ended == []
    assert await node.dispatcher(Call("Search", b"new", (), Deadline.after(WAIT_S))) == b"usual new"


async def test_nothing_is_begun_where_callers_are_looked_at() -> None:
    node = Node(Guard(SecurityOptions(client_max_calls=1000)))
    assert node.begin() is None
    assert node.running.names(without="Cmd") == []
    node.pool.close()


async def test_a_call_beyond_the_limit_is_left_to_the_usual_way_which_refuses_it(node: Node) -> None:
    await node.held()
    assert node.begin() is not None
    assert node.begin() is not None
    assert node.begin() is None
    with pytest.raises(MishardsError, match="3 search calls are under way or waiting already"):
        await node.dispatcher(Call("Search", b"one", (), Deadline.after(WAIT_S)))
    node.free.set()
    await node.until(lambda: len(node.told) == 2, "those in line are answered")


async def test_a_call_that_is_given_up_is_not_done_and_told_to_nobody_but_the_log(node: Node) -> None:
    holding = await node.held()
    kept, given_up = node.begin(b"kept"), node.begin(b"given up")
    assert kept is not None
    assert given_up is not None
    given_up()
    given_up()
    assert node.pool.admitted == 2
    assert [(served.call.request, served.outcome) for served in node.ended] == [(b"given up", "CANCELLED")]
    assert node.running.names(without="Cmd") == ["Search-1"]
    node.free.set()
    await holding
    await node.until(lambda: bool(node.told), "the other is answered")
    assert node.told == [(OK_FIELD + b"kept", None)]
    assert node.pool.admitted == 0


async def test_a_call_that_is_given_up_while_it_is_worked_on_keeps_its_place_until_it_ends(node: Node) -> None:
    node.work = node.hold
    give_up = node.begin()
    assert give_up is not None
    await asyncio.to_thread(node.begun.wait, WAIT_S)
    give_up()
    assert node.pool.admitted == 1
    node.free.set()
    await node.until(lambda: node.pool.admitted == 0, "its place is free")
    assert node.told == []


@pytest.mark.parametrize("error", [IllegalRows("no vectors"), MishardsError("no")])
async def test_an_error_of_the_protocol_becomes_the_status_of_the_reply(node: Node, error: MishardsError) -> None:
    node.failure = error
    reply, told = await node.answered()
    assert told is None
    assert status_of("Search", reply) == (error.code, str(error))


async def test_an_error_with_a_status_of_its_own_is_left_to_the_transport(node: Node) -> None:
    node.failure = DeadlineExceeded("late")
    assert await node.answered() == (b"", node.failure)


async def test_a_bug_costs_one_call_and_is_logged(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    node.failure = ZeroDivisionError("oops")
    with caplog.at_level(logging.ERROR):
        reply, told = await node.answered()
    assert told is None
    assert status_of("Search", reply) == (Code.UNEXPECTED_ERROR, "internal error: oops")
    assert "Search failed in a way that is a bug" in caplog.text
    node.failure = None
    assert (await node.answered())[0] == OK_FIELD + b"one"


async def test_a_pool_that_closes_ends_what_was_begun_and_begins_nothing_more(node: Node) -> None:
    await node.held()
    assert node.begin() is not None
    node.pool.close()
    await node.until(lambda: bool(node.told), "the outcome is told")
    ((reply, error),) = node.told
    assert error is None
    assert status_of("Search", reply) == (Code.UNEXPECTED_ERROR, "Milvus server is shutdown!")
    assert node.begin() is None
