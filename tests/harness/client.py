"""The unmodified client, driven from a test that runs beside it in another environment."""

from __future__ import annotations

import base64
import contextlib
import json
import queue
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_CONNECT_TIMEOUT_S = 100
"""More than the client's own: three tries of 30 s."""
_BRIDGE = Path(__file__).with_name("client_bridge.py")


@dataclass(frozen=True)
class Reply:
    """What a method of the client returned: its ``Status`` and what came with it."""

    code: int
    message: str
    value: Any
    """Plain data: numbers, text, lists, dicts by attribute name; ``Hits`` after a search, bytes for a bit vector."""

    @property
    def ok(self) -> bool:
        """Is the status SUCCESS?"""
        return self.code == 0


@dataclass(frozen=True)
class Hits:
    """A search result; rows may differ in length, and the client has left out the ids -1."""

    ids: list[list[int]]
    distances: list[list[float]]


class ClientRaised(Exception):
    """The client raised an exception of the class ``kind`` instead of returning a status."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class RemoteClient:
    """One ``milvus.Milvus`` object in a process of its own; one call at a time."""

    def __init__(self, python: Path, address: str, *, handler: str = "GRPC", **options: Any) -> None:
        """Connect to ``host:port``.

        Args:
            python: The interpreter that has the client, from the fixture ``pymilvus_python``.
            address: Where the server listens.
            handler: ``GRPC`` or ``HTTP``.
            options: Further ones of ``milvus.Milvus``, such as ``wait_timeout`` (seconds) and ``max_retry``.

        Raises:
            ClientRaised: what the client raised while it connected.
        """
        self._bridge = subprocess.Popen(
            [python, "-u", _BRIDGE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._replies: queue.Queue[str] = queue.Queue()
        assert self._bridge.stdin is not None
        assert self._bridge.stdout is not None
        self._calls: IO[str] = self._bridge.stdin
        self._reader = threading.Thread(
            target=self._read, args=(self._bridge.stdout,), name="client-replies", daemon=True
        )
        self._reader.start()
        host, _, port = address.rpartition(":")
        try:
            self._exchange("connect", {"host": host, "port": port, "handler": handler, **options}, _CONNECT_TIMEOUT_S)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RemoteClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, method: str, /, *, reply_within_s: float = 60, **arguments: Any) -> Reply:
        """Call a method of ``milvus.Milvus`` by its name and its own keyword arguments.

        A numpy array becomes a list of vectors: ``float32[n, dim]``, or ``uint8[n, dim / 8]`` as one bytes object
        a row.

        Raises:
            ClientRaised: what the client raised, for example on arguments that it refuses itself.
            TimeoutError: when it has not returned after ``reply_within_s`` seconds; the process is ended then.
        """
        return self._exchange(method, {name: _encoded(value) for name, value in arguments.items()}, reply_within_s)

    def _exchange(self, method: str, arguments: dict[str, Any], timeout_s: float) -> Reply:
        self._calls.write(json.dumps({"method": method, "arguments": arguments}) + "\n")
        self._calls.flush()
        try:
            line = self._replies.get(timeout=timeout_s)
        except queue.Empty:
            self.close()
            raise TimeoutError(f"{method} did not return within {timeout_s:g} s") from None
        if not line:
            raise AssertionError(f"the client's process ended with {self._bridge.wait(10)} during {method}")
        reply = json.loads(line)
        if "raised" in reply:
            raise ClientRaised(reply["raised"], reply["message"])
        return Reply(reply["code"], reply["message"], _decoded(reply["value"]))

    def _read(self, replies: IO[str]) -> None:
        for line in replies:
            self._replies.put(line)
        self._replies.put("")

    def close(self) -> None:
        """End the process; may be called twice."""
        self._bridge.kill()
        self._bridge.wait(10)
        self._reader.join(10)
        for stream in (self._bridge.stdin, self._bridge.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # a call was still being written
                    stream.close()


def _encoded(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    kind, dtype = ("B", np.uint8) if value.dtype == np.uint8 else ("f", np.float32)
    rows: NDArray[Any] = np.ascontiguousarray(value, dtype=dtype)
    return {"rows": len(rows), "type": kind, "base64": base64.b64encode(rows.tobytes()).decode("ascii")}


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(part) for part in value]
    if isinstance(value, dict):
        if value.keys() == {"base64"}:
            return base64.b64decode(value["base64"])
        if value.keys() == {"ids", "distances"}:
            return Hits(value["ids"], value["distances"])
        return {name: _decoded(part) for name, part in value.items()}
    return value
