from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mishards import __version__
from mishards.cli import main

ANSWERS = {
    "/explain/words?partition=p1": {
        "collection": "words",
        "replicas": 2,
        "segments": [
            {
                "segment_id": "17",
                "partition": "p1",
                "rows": 5,
                "file_id": 3,
                "indexed": True,
                "nodes": ["a", "b"],
                "spares": ["c"],
                "asked": "b",
            }
        ],
    },
    "/status": {
        "writer": "w",
        "searchers": ["a"],
        "nodes": [
            {
                "name": name,
                "address": "h:1",
                "role": role,
                "state": "ready",
                "health": health,
                "reason": reason,
                "outstanding": 2,
                "latency_ms": 1.5,
            }
            for name, role, health, reason in (("a", "readonly", "down", "refused"), ("w", "writable", "up", ""))
        ],
        "catalog": {"version": 4, "age_ms": 12, "error": "it is away"},
    },
}


NEEDED = ("--metadata", "sqlite:///x", "--discovery", "static://?writable=h:1")


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = ANSWERS.get(self.path)
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(json.dumps(found or {"message": "Collection x does not exist."}).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


@pytest.fixture
def http() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_the_help_lists_every_command() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for command in ("serve", "local", "check-config", "completion", "explain", "plugins", "status"):
        assert f"  {command}" in result.output


def test_the_version_is_the_packages() -> None:
    assert __version__ in run("--version").output


def test_checking_a_config_prints_every_setting_with_its_source_and_no_password(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("discovery: {uri: 'static://?writable=h:1'}\n", encoding="utf-8")
    result = run("check-config", "--config", str(file), "--metadata", "mysql://u:hush@h:1/d")
    assert result.exit_code == 0
    assert "metadata.uri = mysql://u:***@h:1/d  (flag --metadata)" in result.output
    assert f"discovery.uri = static://?writable=h:1  ({file}:1)" in result.output
    assert "search.deadline_ms = 60000  (default)" in result.output
    assert "hush" not in result.output


def test_a_config_that_cannot_be_used_is_one_line_and_exit_code_one(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("serch: {}\n", encoding="utf-8")
    result = run("serve", "--config", str(file))
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert "did you mean search?" in result.output


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--metadata", "sqlite:///x", "--discovery", "fil:///h"), "no discovery plugin named 'fil'"),
        (("--metadata", "oracle://x", "--discovery", "static://?writable=h:1"), "oracle"),
        (
            ("--metadata", "sqlite:///x", "--discovery", "static://?writable=h:1", "--log-level", "loud"),
            "log.level = loud",
        ),
    ],
)
def test_a_start_that_cannot_be_is_one_clear_line(flags: tuple[str, ...], message: str) -> None:
    result = run("serve", *flags)
    assert result.exit_code == 1
    assert message in result.output
    assert result.output.count("\n") == 1


def test_plugins_lists_ours() -> None:
    result = run("plugins")
    assert result.exit_code == 0
    assert "consistent_hash" in result.output


def test_explain_prints_a_line_a_segment(http: str) -> None:
    result = run("explain", "words", "--partition", "p1", "--http", http)
    assert result.exit_code == 0
    assert result.output.splitlines()[0] == "words: 1 segments, 2 replicas each"
    assert result.output.splitlines()[2].split() == ["17", "p1", "5", "index", "a", ">", "b", ">", "(c)", "b"]


def test_explain_can_print_json(http: str) -> None:
    result = run("explain", "words", "--partition", "p1", "--http", http, "--json")
    assert json.loads(result.output) == ANSWERS["/explain/words?partition=p1"]


def test_status_prints_nodes_tasks_and_the_snapshots_age(http: str) -> None:
    result = run("status", "--http", http)
    assert "catalog: version 4, 12 ms old, away: it is away" in result.output
    assert "refused" in result.output
    assert "writer" in result.output


@pytest.mark.parametrize("command", [("explain", "absent"), ("status",)])
def test_without_a_router_there_is_one_line(command: tuple[str, ...]) -> None:
    result = run(*command, "--http", "127.0.0.1:1")
    assert result.exit_code == 1
    assert "no router answers at http://127.0.0.1:1" in result.output


def test_what_the_router_finds_wrong_is_said_in_its_words(http: str) -> None:
    result = run("explain", "absent", "--http", http)
    assert result.exit_code == 1
    assert "Collection x does not exist." in result.output
