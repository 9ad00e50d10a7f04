"""``status --watch`` on a terminal, and without one."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from harness.waiting import eventually

NODE = {
    "name": "reader-7",
    "address": "h:1",
    "role": "readonly",
    "state": "ready",
    "health": "up",
    "reason": "",
    "outstanding": 0,
    "latency_ms": 1.25,
}
CATALOG = {"version": 4, "age_ms": 12, "error": None}
WAIT_S = 30


class Router(ThreadingHTTPServer):
    """Answers ``/status``; its writer can be taken away."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.writer: str | None = "reader-7"
        self.asked = 0


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        router: Any = self.server
        router.asked += 1
        seen = {"writer": router.writer, "searchers": ["reader-7"], "nodes": [NODE], "catalog": CATALOG}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(seen).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


@pytest.fixture
def router() -> Iterator[Router]:
    with Router() as server:
        thread = threading.Thread(target=server.serve_forever, name="router")
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def command(port: int, *more: str) -> list[str]:
    http = f"127.0.0.1:{port}"
    return [sys.executable, "-m", "mishards", "status", "--watch", "--interval", "0.05", "--http", http, *more]


class Terminal:
    """A program on a terminal of its own; what it writes is read all the time."""

    def __init__(self, arguments: list[str]) -> None:
        self._ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160", "LINES": "40"}
        self.process = subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        self.shown = b""
        self._reader = threading.Thread(target=self._read, name="terminal")
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._ours, 4096):
                self.shown += data
        except OSError:
            """The program has ended and nobody has the terminal open."""

    def press(self, key: bytes) -> None:
        os.write(self._ours, key)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        os.close(self._ours)


def test_a_terminal_shows_the_nodes_live_until_q(router: Router) -> None:
    with Terminal(command(router.server_port)) as terminal:
        eventually(lambda: b"reader-7" in terminal.shown and router.asked >= 3, WAIT_S, lambda: repr(terminal.shown))
        terminal.press(b"x")  # means nothing
        asked = router.asked
        eventually(lambda: router.asked > asked, WAIT_S, "it goes on")
        terminal.press(b"q")
        assert terminal.process.wait(WAIT_S) == 0
        assert b"q or Ctrl-C ends" in terminal.shown


def test_ctrl_c_ends_it_and_the_exit_code_tells_the_last_look(router: Router) -> None:
    router.writer = None
    with Terminal(command(router.server_port)) as terminal:
        eventually(lambda: router.asked >= 2, WAIT_S, lambda: repr(terminal.shown))
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(WAIT_S) == 3


def test_without_a_terminal_there_is_one_json_document_a_line(router: Router) -> None:
    with subprocess.Popen(
        command(router.server_port, "--json"), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        first, second = process.stdout.readline(), process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(WAIT_S) == 0
    assert json.loads(first)["writer"] == json.loads(second)["writer"] == "reader-7"


def test_a_router_that_is_away_is_waited_for() -> None:
    with subprocess.Popen(command(1), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(WAIT_S) == 3
    assert all(b"no router answers" in line for line in lines)
