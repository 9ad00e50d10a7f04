"""What holds for every request: paths, origins, limits, deadlines, metadata, clients that go away."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any
from unittest import mock

import pytest
from starlette.types import ASGIApp, Message

from mishards.deadline import Deadline
from mishards.rest import body as rest_body
from mishards.rest.application import api_routes, application
from mishards.rest.health import health_routes
from mishards.transport.api import Call
from mishards.wire.replies import OK_FIELD

PATHS = sorted({re.sub(r"\{\w+\}", "x", route.path) for route in api_routes(lambda _call: NotImplemented)})


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_tells_a_browser_that_any_origin_may_ask(api: Any, path: str) -> None:
    response = await api.send("OPTIONS", path, headers={"Origin": "http://elsewhere"})
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["access-control-allow-origin"] == "*"
    assert {"GET", "POST", "PUT", "DELETE"} <= set(response.headers["access-control-allow-methods"].split(", "))
    assert response.headers["access-control-allow-headers"].startswith("*")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/state", 200),
        ("POST", "/collections", 400),
        ("GET", "/nowhere", 404),
        ("POST", "/state", 405),
        ("OPTIONS", "/nowhere", 404),
    ],
)
async def test_every_answer_may_be_read_by_any_origin(api: Any, method: str, path: str, status: int) -> None:
    response = await api.send(method, path)
    assert response.status_code == status
    assert response.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", ["/nowhere", "/collections/", "/collections/c/x", "/config/gpu_resources"])
async def test_an_unknown_path_has_a_code_of_its_own(api: Any, path: str) -> None:
    response = await api.send("GET", path)
    assert (response.status_code, response.json()) == (404, {"message": f"Unknown path: {path}.", "code": 32})


async def test_a_method_that_a_path_does_not_know_is_said_to_be_unknown(api: Any) -> None:
    response = await api.send("PATCH", "/collections/c")
    assert (response.status_code, response.json()["code"]) == (405, 32)


async def test_a_name_in_a_path_is_decoded(api: Any) -> None:
    await api.send("DELETE", "/collections/%C3%BCber%20a%3Fb")
    assert [request.collection_name for _, request in api.requests()] == ["über a?b"]


async def test_a_body_may_be_as_large_as_allowed_and_no_larger(limited_api: Any) -> None:
    empty = len(b'{"collection_names":[""]}') + len(b'{"flush":}')
    for size, status in ((100, 200), (101, 413)):
        body = '{"flush":{"collection_names":["%s"]}}' % ("x" * (size - empty))
        assert len(body) == size
        response = await limited_api.send("PUT", "/system/task", content=body.encode())
        assert response.status_code == status
    assert response.json()["code"] == 35
    assert "100 bytes" in response.json()["message"]
    assert len(limited_api.calls) == 1


async def test_a_body_without_a_length_is_measured_while_it_comes(limited_api: Any) -> None:
    async def chunks() -> Any:
        for _ in range(11):
            yield b" " * 10

    response = await limited_api.send("PUT", "/system/task", content=chunks())
    assert response.status_code == 413
    assert limited_api.calls == []


async def test_a_client_that_waits_for_leave_is_refused_before_it_sends(limited_api: Any) -> None:
    async def chunks() -> Any:
        raise AssertionError("the body was asked for")
        yield b""

    headers = {"Expect": "100-continue", "Content-Length": "101"}
    response = await limited_api.send("PUT", "/system/task", content=chunks(), headers=headers)
    assert response.status_code == 413


async def test_a_call_has_no_deadline_unless_the_client_sets_one(api: Any) -> None:
    await api.send("DELETE", "/collections/c")
    await api.send("DELETE", "/collections/c", headers={"Grpc-Timeout": "5S"})
    without, bounded = (call.deadline for call in api.calls)
    assert without.timeout() is None
    assert 0 < bounded.remaining() <= 5


@pytest.mark.parametrize(
    ("text", "seconds"), [("2H", 7200), ("3M", 180), ("4S", 4), ("9000m", 9), ("9000000u", 9), ("99999999n", 0.1)]
)
async def test_a_deadline_has_the_units_of_grpc(api: Any, text: str, seconds: float) -> None:
    began = Deadline.after(seconds)
    await api.send("DELETE", "/collections/c", headers={"Grpc-Timeout": text})
    assert 0 <= api.calls[0].deadline.at - began.at < 60


@pytest.mark.parametrize("text", ["", "5", "5s", "S", "-1S", "1.5S", "123456789S"])
async def test_a_deadline_that_is_none_is_refused(api: Any, text: str) -> None:
    response = await api.send("DELETE", "/collections/c", headers={"Grpc-Timeout": text})
    assert (response.status_code, response.json()["code"]) == (400, 37)
    assert api.calls == []


async def test_metadata_travels_both_ways(api: Any) -> None:
    def answer(_request: object) -> Any:
        api.calls[-1].reply_metadata.append(("request_id", "r-7"))
        return None

    api.replies["DropCollection"] = answer
    headers = {"X-Request-Id": "r-7", "Authorization": "Bearer t", "uber-trace-id": "1:2:3:1", "X-Other": "x"}
    response = await api.send("DELETE", "/collections/c", headers=headers)
    expected = {"x-request-id": "r-7", "authorization": "Bearer t", "uber-trace-id": "1:2:3:1"}
    assert dict(api.calls[0].metadata) == expected
    assert response.headers["request_id"] == "r-7"
    assert api.calls[0].peer.startswith("http:")


class Stuck:
    """A handler that never answers."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.ended = asyncio.Event()

    async def __call__(self, _call: Call) -> bytes:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        return b""


def request(
    app: ASGIApp, receive: Callable[[], Awaitable[Message]], headers: dict[str, str] | None = None
) -> tuple[asyncio.Task[None], list[Message]]:
    """Begin ``DELETE /collections/c``; return it and what it sends."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "DELETE",
        "path": "/collections/c",
        "raw_path": b"/collections/c",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
    }
    return asyncio.get_running_loop().create_task(app(scope, receive, send)), sent


async def test_a_call_ends_when_its_client_goes_away() -> None:
    handler, gone = Stuck(), asyncio.Event()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    task, _ = request(application(api_routes(handler)), receive)
    await asyncio.wait_for(handler.entered.wait(), 5)
    gone.set()
    await asyncio.wait_for(task, 5)
    assert handler.ended.is_set()


async def test_a_call_ends_at_its_deadline_and_the_client_is_told() -> None:
    handler = Stuck()

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    task, sent = request(application(api_routes(handler)), receive, {"grpc-timeout": "20m"})
    await asyncio.wait_for(task, 5)
    assert handler.ended.is_set()
    assert sent[0]["status"] == 504
    assert b"deadline passed before DELETE /collections/c was answered" in sent[1]["body"]


async def test_a_call_ends_when_the_request_is_cancelled() -> None:
    handler = Stuck()

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    task, _ = request(application(api_routes(handler)), receive)
    await asyncio.wait_for(handler.entered.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert handler.ended.is_set()


async def test_a_body_that_stops_coming_is_given_up() -> None:
    handler, asked = Stuck(), 0

    async def receive() -> Message:
        nonlocal asked
        asked += 1
        if asked > 1:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"abc", "more_body": True}

    with mock.patch.object(rest_body, "_SILENCE_S", 0.02):
        task, sent = request(application(api_routes(handler)), receive, {"content-length": "100"})
        await asyncio.wait_for(task, 5)
    assert sent[0]["status"] == 408
    assert b"stopped coming after 3 bytes" in sent[1]["body"]
    assert not handler.entered.is_set()


async def test_a_client_that_goes_away_while_it_sends_makes_no_call() -> None:
    handler = Stuck()
    messages = iter([{"type": "http.request", "body": b"abc", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Message:
        return next(messages)

    task, _ = request(application(api_routes(handler)), receive, {"content-length": "100"})
    await asyncio.wait_for(task, 5)
    assert not handler.entered.is_set()


async def test_health_says_what_is_wrong_and_what_is_only_odd(api: Any) -> None:
    problems: list[str] = []
    api.app = application(health_routes(lambda: problems, lambda: ["odd"]))
    assert await api.get("/healthz") == {"status": "ok"}
    assert await api.get("/readyz") == {"ready": True, "reasons": [], "warnings": ["odd"]}
    problems.append("stopping")
    response = await api.send("GET", "/readyz")
    assert response.status_code == 503
    assert response.json() == {"ready": False, "reasons": ["stopping"], "warnings": ["odd"]}


async def test_of_two_routes_for_a_path_the_first_one_answers(api: Any) -> None:
    async def handler(_call: Call) -> bytes:
        return OK_FIELD

    first = health_routes(lambda: ["first"], list)[1]
    api.app = application([first, *health_routes(list, list), *api_routes(handler)])
    assert (await api.send("GET", "/readyz")).json()["reasons"] == ["first"]
