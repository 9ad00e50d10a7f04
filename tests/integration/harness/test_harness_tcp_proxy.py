from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from harness.tcp_proxy import TcpProxy
from harness.waiting import eventually


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        connection: socket.socket = self.request
        try:
            while data := connection.recv(65_536):
                connection.sendall(data)
        except ConnectionError:
            return


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@pytest.fixture
def proxy() -> Iterator[TcpProxy]:
    with _Server(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        with TcpProxy(f"127.0.0.1:{server.server_address[1]}") as running:
            yield running
        server.shutdown()
        thread.join()


@pytest.fixture
def connection(proxy: TcpProxy) -> Iterator[socket.socket]:
    with _connect(proxy) as connected:
        connected.sendall(b"hello")
        assert _receive(connected, 5) == b"hello"
        yield connected


def _connect(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def _send_all(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (chunk := connection.recv(size - len(data))):
        data += chunk
    return data


def test_bytes_arrive_unchanged_and_the_end_is_passed_on(proxy: TcpProxy) -> None:
    sent = bytes(range(256)) * 4_000
    with _connect(proxy) as connection:
        sender = threading.Thread(target=_send_all, args=(connection, sent))
        sender.start()
        assert _receive(connection, len(sent) + 1) == sent
        sender.join()
    eventually(lambda: proxy.connections == 0, 5, "the connection is gone")


def test_delay_holds_back_each_way(proxy: TcpProxy, connection: socket.socket) -> None:
    proxy.delay(0.1)
    began = time.monotonic()
    connection.sendall(b"later")
    assert _receive(connection, 5) == b"later"
    assert time.monotonic() - began >= 0.2


def test_throttle_bounds_the_bytes_a_second(proxy: TcpProxy, connection: socket.socket) -> None:
    proxy.throttle(1_000_000)
    began = time.monotonic()
    connection.sendall(bytes(300_000))
    assert len(_receive(connection, 300_000)) == 300_000
    assert time.monotonic() - began >= 0.2


def test_a_frozen_connection_says_nothing_and_loses_nothing(proxy: TcpProxy, connection: socket.socket) -> None:
    proxy.freeze()
    connection.sendall(b"held back")
    connection.settimeout(0.2)
    with pytest.raises(TimeoutError):
        connection.recv(1)
    proxy.heal()
    connection.settimeout(10)
    assert _receive(connection, 9) == b"held back"


def test_a_new_connection_to_a_frozen_proxy_is_open_and_silent(proxy: TcpProxy) -> None:
    proxy.freeze()
    with _connect(proxy) as connection:
        connection.sendall(b"x")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        proxy.heal()
        connection.settimeout(10)
        assert _receive(connection, 1) == b"x"


def test_reset_breaks_what_is_open_and_takes_new_connections(proxy: TcpProxy, connection: socket.socket) -> None:
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        connection.recv(1)
    with _connect(proxy) as new:
        new.sendall(b"again")
        assert _receive(new, 5) == b"again"


def test_refuse_turns_new_connections_away_and_heal_takes_them_again(
    proxy: TcpProxy, connection: socket.socket
) -> None:
    address = proxy.address
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        _connect(proxy)
    connection.sendall(b"still")
    assert _receive(connection, 5) == b"still"
    proxy.heal()
    assert proxy.address == address
    with _connect(proxy) as new:
        new.sendall(b"again")
        assert _receive(new, 5) == b"again"


def test_a_dead_upstream_ends_the_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with TcpProxy(f"127.0.0.1:{unused.getsockname()[1]}") as proxy, _connect(proxy) as connection:
            assert connection.recv(1) == b""
