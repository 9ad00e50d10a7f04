from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator

import pytest
from google.protobuf.message import DecodeError

from harness.waiting import eventually_async
from milvus_node.errors import SegmentMissing
from milvus_node.roles import WRITES
from milvus_node.service.dispatch import Dispatcher, Route, RunningCalls
from milvus_node.service.pools import Pool
from mishards.deadline import Deadline
from mishards.errors import (
    CatalogUnavailable,
    Code,
    CollectionNotFound,
    DeadlineExceeded,
    MalformedParams,
    MalformedRequest,
    MishardsError,
    Overloaded,
    RpcStatus,
    UnknownMethod,
)
from mishards.transport.api import Call
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.replies import METHODS, ok_status, status_of

WAIT_S = 20.0

Serve = Callable[[Call], bytes]


def call(method: str, request: bytes = b"") -> Call:
    return Call(method, request, (), Deadline.after(WAIT_S))


@pytest.fixture
def pool() -> Iterator[Pool]:
    found = Pool("test", 2, 0)
    yield found
    found.close()


@pytest.fixture
def running() -> RunningCalls:
    return RunningCalls()


def raising(error: Exception) -> Serve:
    def serve(_: Call) -> bytes:
        raise error

    return serve


def dispatcher(pool: Pool, running: RunningCalls, refused: frozenset[str] = frozenset(), **serve: Serve) -> Dispatcher:
    return Dispatcher({method: Route(function, pool) for method, function in serve.items()}, running, refused)


async def test_a_call_is_served_off_the_event_loop_by_the_function_of_its_method(
    pool: Pool, running: RunningCalls
) -> None:
    threads: list[threading.Thread] = []

    def serve(given: Call) -> bytes:
        threads.append(threading.current_thread())
        return given.request[::-1]

    assert await dispatcher(pool, running, Cmd=serve)(call("Cmd", b"abc")) == b"cba"
    assert threads[0] is not threading.current_thread()


@pytest.mark.parametrize("method", sorted(WRITES))
async def test_a_read_only_node_refuses_writes_in_the_reply_of_each(
    pool: Pool, running: RunningCalls, method: str
) -> None:
    serve = Dispatcher({method: Route(raising(AssertionError("served")), pool)}, running, WRITES)
    code, reason = status_of(method, await serve(call(method, b"\xff\xff")))
    assert code is Code.PERMISSION_DENIED
    assert reason.startswith(f"{method} is refused: this node is read-only")


def test_every_call_that_changes_something_is_known_to_be_one() -> None:
    changing = {name for name in METHODS if name.startswith(("Create", "Drop", "Insert", "Delete", "Flush", "Compact"))}
    hybrid = {name for name in changing if "Hybrid" in name or "Entit" in name}
    assert changing - hybrid == WRITES


@pytest.mark.parametrize("method", ["HybridSearch", "CreateHybridCollection", "NoSuchMethod"])
async def test_a_method_that_is_not_served_is_unimplemented(pool: Pool, running: RunningCalls, method: str) -> None:
    with pytest.raises(UnknownMethod) as caught:
        await dispatcher(pool, running, WRITES)(call(method))
    assert caught.value.rpc_status is RpcStatus.UNIMPLEMENTED


async def test_bytes_that_are_no_request_are_an_invalid_argument(pool: Pool, running: RunningCalls) -> None:
    def parse(given: Call) -> bytes:
        return pb.CollectionName.FromString(given.request).SerializeToString()

    with pytest.raises(MalformedRequest, match="HasCollection: the bytes are no CollectionName") as caught:
        await dispatcher(pool, running, HasCollection=parse)(call("HasCollection", b"\x0a\xff\xff"))
    assert caught.value.rpc_status is RpcStatus.INVALID_ARGUMENT
    assert isinstance(caught.value.__cause__, DecodeError)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CollectionNotFound("words"), Code.COLLECTION_NOT_EXISTS),
        (CatalogUnavailable("away"), Code.META_FAILED),
        (SegmentMissing("/a/b is missing"), Code.UNEXPECTED_ERROR),
    ],
)
@pytest.mark.parametrize("method", ["Flush", "Search", "Insert"])
async def test_an_error_of_the_protocol_becomes_the_status_of_the_reply(
    pool: Pool, running: RunningCalls, method: str, error: MishardsError, code: Code
) -> None:
    reply = await Dispatcher({method: Route(raising(error), pool)}, running)(call(method))
    assert status_of(method, reply) == (code, str(error))


@pytest.mark.parametrize("error", [Overloaded("full"), MalformedParams("bad json"), DeadlineExceeded("late")])
async def test_an_error_with_a_status_of_its_own_is_left_to_the_transport(
    pool: Pool, running: RunningCalls, error: MishardsError
) -> None:
    with pytest.raises(type(error)):
        await dispatcher(pool, running, Search=raising(error))(call("Search"))


async def test_a_bug_costs_one_call_and_is_logged(
    pool: Pool, running: RunningCalls, caplog: pytest.LogCaptureFixture
) -> None:
    serve = dispatcher(pool, running, Search=raising(ZeroDivisionError("oops")), Cmd=lambda _: b"fine")
    with caplog.at_level(logging.ERROR):
        code, reason = status_of("Search", await serve(call("Search")))
    assert (code, reason) == (Code.UNEXPECTED_ERROR, "internal error: oops")
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert await serve(call("Cmd")) == b"fine"


async def test_a_reason_that_is_no_text_can_be_sent(pool: Pool, running: RunningCalls) -> None:
    reply = await dispatcher(pool, running, Flush=raising(MishardsError("\udcff")))(call("Flush"))
    assert status_of("Flush", reply)[0] is Code.UNEXPECTED_ERROR


async def test_calls_under_way_are_listed_by_method_and_number(pool: Pool, running: RunningCalls) -> None:
    free = threading.Event()

    def wait(_: Call) -> bytes:
        assert free.wait(WAIT_S)
        return ok_status().SerializeToString()

    serve = dispatcher(pool, running, Flush=wait, Cmd=lambda _: ",".join(running.names(without="Cmd")).encode())
    task = asyncio.create_task(serve(call("Flush")))

    async def listed() -> bool:
        return bool(running.names(without="Cmd"))

    await eventually_async(listed, WAIT_S, "the call is under way")
    assert await serve(call("Cmd")) == b"Flush-1"
    free.set()
    await task
    assert await serve(call("Cmd")) == b""


async def test_a_call_that_failed_or_was_cancelled_is_under_way_no_more(pool: Pool, running: RunningCalls) -> None:
    free = threading.Event()

    def wait(_: Call) -> bytes:
        assert free.wait(WAIT_S)
        return b""

    serve = dispatcher(pool, running, Search=raising(ValueError("no")), Flush=wait)
    await serve(call("Search"))
    task = asyncio.ensure_future(serve(call("Flush")))

    async def listed() -> bool:
        return bool(running.names(without="Cmd"))

    await eventually_async(listed, WAIT_S, "the call is under way")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    free.set()
    assert running.names(without="Cmd") == []
