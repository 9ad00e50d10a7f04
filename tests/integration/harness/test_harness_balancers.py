from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from harness.haproxy import HAProxy
from harness.nginx import Nginx
from harness.ports import free_port
from harness.waiting import eventually


class _NamedServer(grpc.GenericRpcHandler):
    """Answers every call with its own name, and one method with an error."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    def service(self, handler_call_details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            self._fail if handler_call_details.method == "/test/Fail" else lambda _, __: self._name
        )

    def _fail(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.NOT_FOUND, "nothing here")


@contextmanager
def _serving(name: bytes, port: int) -> Iterator[None]:
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=[_NamedServer(name)], options=[("grpc.so_reuseport", 0)])
        server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        yield
        server.stop(None).wait(10)


class _Balanced:
    """Two servers behind one balancer; each can be stopped."""

    def __init__(self, channel: grpc.Channel, first: ExitStack, second: ExitStack) -> None:
        self.first = first
        self.second = second
        self._channel = channel

    def call(self, method: str = "/test/Name") -> bytes:
        stub = self._channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
        return stub(b"", timeout=10)


@pytest.fixture(params=[Nginx, HAProxy])
def balanced(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[_Balanced]:
    balancer: type[Nginx | HAProxy] = request.param
    if missing := balancer.missing():
        pytest.skip(missing)
    ports = [free_port(), free_port()]
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(_serving(b"one", ports[0]))
        second.enter_context(_serving(b"two", ports[1]))
        with balancer(tmp_path, [f"127.0.0.1:{port}" for port in ports]) as running:
            running.launch()
            with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
                yield _Balanced(channel, first, second)


def test_the_calls_of_one_channel_go_to_both_servers(balanced: _Balanced) -> None:
    assert sorted(balanced.call() for _ in range(10)) == [b"one"] * 5 + [b"two"] * 5


def test_a_servers_status_passes_through(balanced: _Balanced) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        balanced.call("/test/Fail")
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND
    assert raised.value.details() == "nothing here"


def test_a_dead_server_is_hidden(balanced: _Balanced) -> None:
    balanced.second.close()
    assert {balanced.call() for _ in range(20)} == {b"one"}


def test_without_a_server_a_call_is_unavailable(balanced: _Balanced) -> None:
    balanced.first.close()
    balanced.second.close()
    with pytest.raises(grpc.RpcError) as raised:
        balanced.call()
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE


def test_nginx_goes_on_over_other_servers(tmp_path: Path) -> None:
    if missing := Nginx.missing():
        pytest.skip(missing)
    ports = [free_port(), free_port()]
    with (
        _serving(b"one", ports[0]),
        _serving(b"two", ports[1]),
        Nginx(tmp_path, [f"127.0.0.1:{ports[0]}"]) as nginx,
        grpc.insecure_channel(f"127.0.0.1:{nginx.port}") as channel,
    ):
        nginx.launch()
        balanced = _Balanced(channel, ExitStack(), ExitStack())
        assert balanced.call() == b"one"
        nginx.balance([f"127.0.0.1:{ports[1]}"])
        eventually(lambda: balanced.call() == b"two", 10, "calls go to the other server")
