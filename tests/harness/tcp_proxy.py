"""A TCP proxy with faults: between any client and any server, without privileges.

What it can do to the connections through it: delay, throttle, freeze (nothing is passed on and nothing is closed, as
behind a firewall that drops), reset (RST), and refuse new ones.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

_CHUNK = 64 * 1024
_QUEUED_CHUNKS = 64
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_Chunks = asyncio.Queue[tuple[float, bytes]]


@dataclass(frozen=True)
class _Faults:
    delay_s: float = 0.0
    bytes_per_s: float = float("inf")


class TcpProxy:
    """Listens on ``address`` of the loopback interface and passes each connection on to ``upstream``.

    It runs in a thread of its own; every method may be called from any thread and returns when its effect holds.
    """

    def __init__(self, upstream: str) -> None:
        """Begin to listen; ``upstream`` is ``host:port``."""
        host, _, port = upstream.rpartition(":")
        self._upstream = (host, int(port))
        self._faults = _Faults()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._connections: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"tcp-proxy-{port}", daemon=True)
        self._thread.start()
        self.port = 0
        self._server = self._run(self._listen())

    def __enter__(self) -> TcpProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """``host:port`` to connect to; the same for the proxy's whole life."""
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    def delay(self, seconds: float) -> None:
        """Hold back what arrives from now on, each way; order and bandwidth stay."""
        self._faults = replace(self._faults, delay_s=seconds)

    def throttle(self, bytes_per_s: float) -> None:
        """Pass on at most this many bytes a second, each way of each connection."""
        self._faults = replace(self._faults, bytes_per_s=bytes_per_s)

    def freeze(self) -> None:
        """Pass nothing on, of old connections and new ones, until ``heal``; neither side is told."""
        self._run(self._on_loop(self._flowing.clear))

    def reset(self) -> None:
        """Break all open connections with a RST; new ones are welcome."""
        self._run(self._break_connections())

    def refuse(self) -> None:
        """Accept no new connections until ``heal``; open ones go on."""
        self._run(self._stop_listening())

    def heal(self) -> None:
        """End every fault; what was held back goes out."""
        self._faults = _Faults()
        self._run(self._on_loop(self._flowing.set))
        if not self._server.is_serving():
            self._server = self._run(self._listen())

    def close(self) -> None:
        """Stop listening and break what is open; may be called twice."""
        if self._loop.is_closed():
            return
        self._run(self._stop_listening())
        self._run(self._break_connections())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _on_loop(self, change: Callable[[], object]) -> None:
        change()

    async def _listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _stop_listening(self) -> None:
        self._server.close()

    async def _break_connections(self) -> None:
        tasks = list(self._connections)
        for writer in (writer for writers in self._connections.values() for writer in writers):
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = (writer,)
        try:
            await self._flowing.wait()
            onward_reader, onward_writer = await asyncio.open_connection(*self._upstream)
            self._connections[task] = (writer, onward_writer)
            await self._pass_on_both_ways((reader, onward_writer), (onward_reader, writer))
        except OSError:
            pass  # one side has gone; so does the other
        except asyncio.CancelledError:
            pass  # broken on purpose; the task ends here
        finally:
            for open_writer in self._connections.pop(task):
                open_writer.close()

    async def _pass_on_both_ways(self, *directions: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        """Carry both directions to their ends, or until one of them fails."""
        tasks = []
        for reader, writer in directions:
            chunks: _Chunks = asyncio.Queue(_QUEUED_CHUNKS)
            tasks += [
                asyncio.create_task(self._receive(reader, chunks)),
                asyncio.create_task(self._send(chunks, writer)),
            ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
                raise outcome

    async def _receive(self, reader: asyncio.StreamReader, chunks: _Chunks) -> None:
        chunk = b"."
        while chunk:
            chunk = await reader.read(_CHUNK)
            await chunks.put((self._loop.time() + self._faults.delay_s, chunk))

    async def _send(self, chunks: _Chunks, writer: asyncio.StreamWriter) -> None:
        while True:
            due, chunk = await chunks.get()
            await asyncio.sleep(due - self._loop.time())
            await self._flowing.wait()
            if not chunk:
                writer.write_eof()
                return
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(len(chunk) / self._faults.bytes_per_s)
