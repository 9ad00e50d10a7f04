"""What the doubles of servers that speak HTTP share: a server in threads whose answers may take long, stream, or fail.

It is no server of anybody's: a double answers as the public documentation of a protocol says, and no more.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

_Self = TypeVar("_Self", bound="HttpDouble")


@dataclass(frozen=True)
class Request:
    """One request; ``path`` is decoded, headers have ``Names-Like-This``, ``body`` is what its JSON says."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any = None


@dataclass(frozen=True)
class Reply:
    """An answer: JSON, text as it is, or a stream of pieces, each sent at once."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: Iterator[str] | None = None


class HttpDouble:
    """Serves on a free port of the loopback interface until it is closed; subclasses say what."""

    def __init__(self) -> None:
        """Begin to serve."""
        self.changed = threading.Condition()
        self.requests: list[Request] = []
        self.failure: Reply | None = None
        """What everything is answered with, instead of what was asked for."""
        self.closed = False
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="http-double")
        self._thread.start()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """``host:port`` to connect to."""
        return f"127.0.0.1:{self._server.server_port}"

    def answer(self, request: Request) -> Reply:
        """What to say to a request; runs on a thread of its own, and returns soon after ``closed``."""
        raise NotImplementedError

    def fail(self, failure: Reply | None) -> None:
        """Answer everything alike from now on, what is under way too; None ends it."""
        with self.changed:
            self.failure = failure
            self.changed.notify_all()

    def close(self) -> None:
        """Stop serving; may be called twice."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def answered(self, request: Request) -> Reply:
        """The answer, or the failure when there is one by then."""
        with self.changed:
            self.requests.append(request)
        reply = self.failure or self.answer(request)
        return self.failure or reply


class _Server(ThreadingHTTPServer):
    block_on_close = True
    daemon_threads = False

    def __init__(self, double: HttpDouble) -> None:
        self.double = double
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_close(self) -> None:
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it was closed already
        super().server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves in the middle of an answer is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(
            self.command,
            unquote(parts.path),
            dict(parse_qsl(parts.query, keep_blank_values=True)),
            {name.title(): value for name, value in self.headers.items()},
            json.loads(raw) if raw else None,
        )
        reply = self.server.double.answered(request)
        content = reply.body.encode() if isinstance(reply.body, str) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.stream is None:
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in reply.stream:
            self._send_chunk(piece.encode())
        self._send_chunk(b"")

    do_GET = do_PUT = do_PATCH = do_POST = do_DELETE = _serve  # noqa: N815 - the names that http.server looks for

    def _send_chunk(self, piece: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""
