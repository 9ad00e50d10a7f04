from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from harness.faults.partition import Direction, Partition, as_group
from harness.ports import free_port
from harness.waiting import eventually

_CLIENT = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=float(sys.argv[2])) as connection:
    connection.sendall(b"x")
    print(connection.recv(1).decode())
"""
_TOTAL_RETRANSMITS = slice(100, 104)
"""Of ``struct tcp_info`` in ``linux/tcp.h``: ``tcpi_total_retrans``."""


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    if missing := Partition.missing():
        pytest.skip(missing)
    with socket.create_server(("127.0.0.1", free_port())) as server:
        server.settimeout(30)
        yield server


@pytest.fixture
def partition(listening: socket.socket) -> Iterator[Partition]:
    with Partition(listening.getsockname()[1]) as made:
        yield made


@pytest.fixture
def ends(listening: socket.socket, partition: Partition) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client and the server's end of its connection."""
    with socket.create_connection(listening.getsockname(), timeout=30) as client:
        accepted, _ = listening.accept()
        with accepted:
            accepted.settimeout(30)
            yield client, accepted


Ends = tuple[socket.socket, socket.socket]


def is_sent_again(connection: socket.socket) -> Callable[[], bool]:
    """Has it sent something twice, as nobody acknowledged it?"""
    before = _retransmits(connection)
    return lambda: _retransmits(connection) > before


def _retransmits(connection: socket.socket) -> int:
    said = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int(struct.unpack("I", said[_TOTAL_RETRANSMITS])[0])


@pytest.mark.parametrize("sender", [0, 1])
def test_what_is_sent_into_a_partition_arrives_when_it_heals(ends: Ends, partition: Partition, sender: int) -> None:
    here, there = ends[sender], ends[1 - sender]
    partition.drop()
    lost = is_sent_again(here)
    here.sendall(b"x")
    eventually(lost, 30, "nobody acknowledges it")
    there.setblocking(False)
    with pytest.raises(BlockingIOError):
        there.recv(1)
    there.settimeout(30)
    partition.heal()
    assert there.recv(1) == b"x"


def test_a_partition_of_one_way_lets_the_other_through(ends: Ends, partition: Partition) -> None:
    client, server = ends
    partition.drop(Direction.TO_CLIENT)
    unheard = is_sent_again(client)
    client.sendall(b"x")
    assert server.recv(1) == b"x"
    eventually(unheard, 30, "its acknowledgement does not get through")
    partition.heal()


def test_a_rejected_connection_is_reset_and_a_new_one_refused(ends: Ends, partition: Partition) -> None:
    client, server = ends
    partition.reject()
    client.sendall(b"x")
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionError):
        socket.create_connection(server.getsockname(), timeout=30)


def test_what_is_lost_is_sent_again_until_all_of_it_is_there(ends: Ends, partition: Partition) -> None:
    client, server = ends
    partition.lose(0.1)
    sent = os.urandom(1 << 20)
    thread = threading.Thread(target=client.sendall, args=(sent,))
    thread.start()
    received = bytearray()
    while len(received) < len(sent):
        received += server.recv(1 << 16)
    thread.join(30)
    assert bytes(received) == sent
    partition.lose(1)
    lost = is_sent_again(client)
    client.sendall(b"x")
    eventually(lost, 30, "it is lost")
    assert partition.stopped


@pytest.mark.parametrize("direction", Direction)
def test_a_partition_of_one_group_leaves_other_clients_alone(listening: socket.socket, direction: Direction) -> None:
    port = listening.getsockname()[1]
    serving = threading.Thread(target=_echo, args=(listening,))
    serving.start()
    with Partition(port, 61_001) as partition:
        partition.drop(direction)
        shut_out = subprocess.run(_client(port, 61_001, 1), check=False, capture_output=True, text=True)
        other = subprocess.run(_client(port, 61_002, 30), check=True, capture_output=True, text=True)
        partition.heal()
        healed = subprocess.run(_client(port, 61_001, 30), check=True, capture_output=True, text=True)
    listening.shutdown(socket.SHUT_RDWR)
    serving.join(30)
    assert "TimeoutError" in shut_out.stderr
    assert (other.stdout, healed.stdout) == ("x\n", "x\n")


def test_no_rule_outlives_its_partition_nor_the_next_one_after_a_kill(listening: socket.socket) -> None:
    killed = f"faults-{_pid_of_the_dead()}-1"
    subprocess.run(["iptables", "-w", "-N", killed], check=True)
    with Partition(listening.getsockname()[1], 61_001) as partition:
        partition.drop()
        chains = _rules()
        assert killed not in chains
        assert partition._chain in chains
    assert partition._chain not in _rules()


def _client(port: int, group: int, timeout_s: float) -> list[str]:
    return [*as_group(group), sys.executable, "-c", _CLIENT, str(port), str(timeout_s)]


def _echo(listening: socket.socket) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return  # shut down
        with connection:
            connection.settimeout(30)
            try:
                connection.sendall(connection.recv(1))
            except OSError:
                continue  # its client has given up


def _pid_of_the_dead() -> int:
    with subprocess.Popen(["true"]) as process:
        process.wait(30)
    return process.pid


def _rules() -> str:
    said = [
        subprocess.run(["iptables", "-w", "-t", table, "-S"], check=True, capture_output=True, text=True)
        for table in ("filter", "mangle")
    ]
    return "".join(tables.stdout for tables in said)
