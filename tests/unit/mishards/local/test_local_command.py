"""The command line of the embedded cluster."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mishards.errors import ProcessFailed
from mishards.local import run
from mishards.local.cluster import ClusterOptions
from mishards.local.command import local_command


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ClusterOptions, dict[str, bool]]]:
    calls: list[tuple[ClusterOptions, dict[str, bool]]] = []

    def started_instead(options: ClusterOptions, **choices: bool) -> None:
        calls.append((options, choices))

    monkeypatch.setattr(run, "run_cluster", started_instead)
    return calls


def test_the_help_names_every_option_and_shows_an_example() -> None:
    text = CliRunner().invoke(local_command, ["--help"]).output

    options = ("dir", "port", "http-port", "readonly", "routers", "metadata", "discovery", "sample", "no-restart")
    assert all(f"--{option} " in text for option in options)
    assert "mishards local --dir" in text


def test_without_options_the_cluster_has_the_default_shape(started: list[Any]) -> None:
    result = CliRunner().invoke(local_command, [])

    assert result.exit_code == 0
    assert started == [(ClusterOptions(Path("milvus-data").absolute()), {"sample": False, "restart": True})]


def test_every_option_reaches_the_cluster(started: list[Any], tmp_path: Path) -> None:
    given = ["--dir", str(tmp_path), "--port", "1", "--http-port", "2", "--readonly", "3", "--routers", "4"]
    given += ["--writable", "2", "--metadata", "sqlite:////m", "--discovery", "file:///d", "--sample", "--no-restart"]

    CliRunner().invoke(local_command, given)

    expected = ClusterOptions(
        tmp_path, 1, 2, writable=2, readonly=3, routers=4, metadata="sqlite:////m", discovery="file:///d"
    )
    assert started == [(expected, {"sample": True, "restart": False})]


def test_one_port_for_both_protocols_is_a_usage_error(started: list[Any]) -> None:
    result = CliRunner().invoke(local_command, ["--port", "5", "--http-port", "5"])

    assert result.exit_code == 2
    assert "--port and --http-port are both 5" in result.stderr
    assert started == []


@pytest.mark.parametrize("option", ["--port", "--http-port"])
def test_a_port_in_use_is_one_line_and_a_failure(option: str, tmp_path: Path) -> None:
    other = {"--port": "--http-port", "--http-port": "--port"}[option]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = CliRunner().invoke(local_command, ["--dir", str(tmp_path), option, str(port), other, "0"])

    assert result.exit_code == 1
    reason = "address already in use; choose another port with"
    assert result.stderr == f"mishards local: cannot listen on 127.0.0.1:{port}: {reason} {option}\n"
    assert result.stdout == ""


def test_a_process_that_cannot_start_is_named_and_the_end_of_its_log_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def failing(options: ClusterOptions, **choices: bool) -> None:
        raise ProcessFailed("readonly-1", "ended (exit code 1) before it was ready", "no such database")

    monkeypatch.setattr(run, "run_cluster", failing)
    result = CliRunner().invoke(local_command, ["--dir", str(tmp_path)])

    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "mishards local: readonly-1 ended (exit code 1) before it was ready",
        f"the end of {tmp_path}/logs/readonly-1.log:",
        "no such database",
    ]
