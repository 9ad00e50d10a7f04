"""The HTTP side of a node as a process: where it listens, when it cannot, and how it ends."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from harness.ports import free_port
from harness.servers import Server, node


def http_address(server: Server) -> str:
    return server.command[server.command.index("--http-address") + 1]


def listening_ports(pid: int) -> set[int]:
    """The TCP ports at which a process listens, as the kernel tells (proc(5): fd, net/tcp, net/tcp6)."""
    open_files = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in open_files:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = node(tmp_path, flags=["--http-address", address]).command
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] == f"milvus-node: cannot listen on {address} for HTTP: address already in use"
    assert "Traceback" not in done.stderr


def test_an_empty_address_is_nowhere(tmp_path: Path) -> None:
    with node(tmp_path, flags=["--http-address", ""]) as server:
        server.launch()
        assert listening_ports(server.pid) == {int(server.address.rpartition(":")[2])}


def test_a_node_ends_at_once_although_clients_are_connected(tmp_path: Path) -> None:
    with node(tmp_path) as server:
        server.launch()
        with httpx.Client(base_url=f"http://{http_address(server)}") as client:
            assert client.get("/readyz").json()["ready"] is True
            with socket.create_connection(("127.0.0.1", client.base_url.port or 0)):
                assert server.terminate() == 0
            with pytest.raises(httpx.TransportError):
                client.get("/readyz")
        assert "Traceback" not in server.log_text()


def test_a_readonly_node_refuses_writes_over_http_too(tmp_path: Path) -> None:
    with node(tmp_path, name="writable") as writable:
        writable.launch()
        flags = ["--address", f"127.0.0.1:{free_port()}"]
        with node(tmp_path, role="readonly", name="readonly", flags=flags) as readonly:
            readonly.launch()
            with httpx.Client(base_url=f"http://{http_address(readonly)}") as client:
                refused = client.post("/collections", json={"collection_name": "c", "dimension": 8})
                assert (refused.status_code, refused.json()["code"]) == (400, 3)
                assert client.get("/collections").json() == {"collections": [], "count": 0}


def test_the_limit_of_a_message_holds_over_http_too(tmp_path: Path) -> None:
    config = tmp_path / "node.yaml"
    config.write_text("calls:\n  max_message_bytes: 1000\n", encoding="utf-8")
    with node(tmp_path, flags=["--config", str(config)]) as server:
        server.launch()
        with httpx.Client(base_url=f"http://{http_address(server)}") as client:
            refused = client.post("/collections/c/vectors", json={"vectors": [[0.25] * 1000]})
            assert (refused.status_code, refused.json()["code"]) == (413, 35)
            unknown = client.post("/collections/c/vectors", json={"vectors": [[0.25] * 100]})
            assert (unknown.status_code, unknown.json()["code"]) == (404, 4)
