"""Following servers over HTTP: the thread, the turns among several servers, and when all of them are lost.

A plugin says how one server is followed: an asynchronous iterator over whole sets, which ends to begin anew and raises
one of ``FAILURES`` when the server is of no use. The next server follows then; the backend is lost once each has failed
since a set was last had.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from dataclasses import dataclass

import httpx

from mishards.discovery.api import Listener
from mishards.errors import DiscoveryError
from mishards_plugins.discovery.reports import Found, Reports
from mishards_plugins.discovery.security import Secret

ANSWER_S = 2.0
"""How long a server may take to answer what needs no waiting."""

FAILURES = (
    httpx.HTTPError,
    httpx.StreamError,
    DiscoveryError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
)
"""What asking a server may raise when it is away, or is not what it should be."""

_PAUSE_S = 0.3

Follow = Callable[[httpx.AsyncClient, str], AsyncGenerator[Found, None]]


@dataclass(frozen=True, slots=True)
class Access:
    """How servers are spoken to; nothing here depends on which."""

    tls: ssl.SSLContext | None = None
    auth: httpx.Auth | None = None

    def client(self) -> httpx.Client:
        """For calls one after the other."""
        _quiet()
        return httpx.Client(timeout=ANSWER_S, trust_env=False, verify=self._verify(), auth=self.auth)

    def async_client(self) -> httpx.AsyncClient:
        """For an event loop."""
        _quiet()
        return httpx.AsyncClient(timeout=ANSWER_S, trust_env=False, verify=self._verify(), auth=self.auth)

    def _verify(self) -> ssl.SSLContext:
        """Without TLS nobody is trusted, which spares httpx reading all the authorities there are."""
        return self.tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class SecretHeader(httpx.Auth):
    """Sends a secret in a header; read for every request, because files are replaced while we run."""

    def __init__(self, header: str, prefix: str, secret: Secret) -> None:
        self._header, self._prefix, self._secret = header, prefix, secret

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header."""
        request.headers[self._header] = self._prefix + self._secret.read()
        yield request


class HttpWatch:
    """A discovery that follows servers, on a thread with an event loop of its own."""

    def __init__(self, name: str, servers: Sequence[str], follow: Follow, access: Access) -> None:
        """``name`` is the backend's, in the thread's name and in messages."""
        self._name = name
        self._servers = servers
        self._follow = follow
        self._access = access
        self._reports: Reports | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None

    def open(self, listener: Listener) -> None:
        """Begin to follow."""
        self._reports = Reports(listener)
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._run(self._reports),), name=f"discovery-{self._name}-watch", daemon=True
        )
        self._thread.start()
        self._reports.wait_first()

    def close(self) -> None:
        """Stop following."""
        if self._reports is None or self._thread is None:
            return
        self._reports.stop()
        if self._loop is not None and self._task is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(2)

    async def _run(self, reports: Reports) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._watch(reports))
        if reports.stopped:
            self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _watch(self, reports: Reports) -> None:
        turn = failed = 0
        async with self._access.async_client() as http:
            while not reports.stopped:
                server = self._servers[turn % len(self._servers)]
                try:
                    async with contextlib.aclosing(self._follow(http, server)) as sets:
                        async for found in sets:
                            reports.found(found)
                            failed = 0
                except FAILURES as error:
                    turn, failed = turn + 1, failed + 1
                    if failed >= len(self._servers):
                        reports.lost(DiscoveryError(f"{self._name} at {server} cannot be read: {error!r}"))
                await asyncio.sleep(_PAUSE_S)


def refusal(reply: httpx.Response) -> str:
    """What a server said instead of doing what it was asked, in one line."""
    return f"{reply.status_code} {' '.join(reply.text.split())[:200]}"


def _quiet() -> None:
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request
