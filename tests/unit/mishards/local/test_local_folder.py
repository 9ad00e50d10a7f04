"""The folder of a cluster, its ports and its ``local.json``."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from mishards.errors import StartError
from mishards.local.cluster import ClusterOptions
from mishards.local.folder import held_folder
from mishards.local.ports import check_port, free_port
from mishards.local.state import ProcessState, read_state, write_state


def test_a_folder_that_does_not_exist_is_made_with_all_its_parts(tmp_path: Path) -> None:
    options = ClusterOptions(tmp_path / "new" / "cluster")

    with held_folder(options):
        assert {path.name for path in options.folder.iterdir()} >= {"logs", "storage", "metadata", "discovery"}


def test_a_folder_is_held_by_one_cluster_and_the_other_is_told_by_which(tmp_path: Path) -> None:
    options = ClusterOptions(tmp_path)

    with (
        held_folder(options),
        pytest.raises(StartError, match=f"process {os.getpid()}") as refusal,
        held_folder(options),
    ):
        pass
    assert "\n" not in str(refusal.value)


def test_a_folder_can_be_held_again_after_it_was_let_go(tmp_path: Path) -> None:
    options = ClusterOptions(tmp_path)

    for _ in range(2):
        with held_folder(options):
            assert (tmp_path / "local.lock").read_text() == f"{os.getpid()}\n"


def test_a_folder_below_a_file_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(StartError, match=r"cannot write .*/file/logs: not a directory"),
        held_folder(ClusterOptions(tmp_path / "file")),
    ):
        pass


def test_a_folder_that_forbids_writing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere: let the kernel say no

    with (
        pytest.raises(StartError, match="permission denied; choose another folder with --dir"),
        held_folder(ClusterOptions(tmp_path)),
    ):
        pass


def test_a_port_in_use_is_refused_and_the_option_that_chooses_it_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(StartError, match=f"127.0.0.1:{port}: address already in use.*--http-port"):
            check_port(port, "--http-port")

    check_port(port, "--http-port")


def test_a_port_that_only_connections_of_a_server_that_ended_still_use_is_not_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()  # the side that closes first keeps the port in TIME_WAIT

    check_port(port, "--port")


def test_any_port_is_always_free_and_a_free_one_can_be_listened_on() -> None:
    check_port(0, "--port")

    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert server.getsockname()[1] != 0


def test_the_state_is_replaced_as_a_whole_and_reads_back(tmp_path: Path) -> None:
    first = ProcessState("writable", "writable", 12, "127.0.0.1:4711")
    second = ProcessState("router-1", "router", 13, None)

    write_state(tmp_path, [first, second])
    assert read_state(tmp_path) == (first, second)
    assert json.loads((tmp_path / "local.json").read_text()) == {
        "processes": [
            {"name": "writable", "role": "writable", "pid": 12, "address": "127.0.0.1:4711"},
            {"name": "router-1", "role": "router", "pid": 13, "address": None},
        ]
    }

    write_state(tmp_path, [])
    assert read_state(tmp_path) == ()
    assert [path.name for path in tmp_path.iterdir()] == ["local.json"]
