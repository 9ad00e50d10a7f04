"""One node of the double, inside the process of the test."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from harness.milvus1.folder_lock import FolderLock
from harness.milvus1.hooks import Hooks, Killed
from harness.milvus1.kinds import SHADOW, Refused
from harness.milvus1.metadata import Metadata
from harness.milvus1.options import Options, Role
from harness.milvus1.parts import Parts
from harness.milvus1.read_calls import ReadCalls
from harness.milvus1.reading import Searcher
from harness.milvus1.service import Service, methods
from harness.milvus1.upkeep import Upkeep
from harness.milvus1.write_calls import Commands, WriteCalls
from harness.milvus1.writing import Writer

_log = logging.getLogger(__name__)
_POLL_S = 0.05
_SERVER_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)


class Milvus1Double:
    """A test double of a Milvus 1.x server; the package says what it is and what it cannot show.

    Several nodes, in this process or others, form a cluster by sharing ``metadata_uri`` and ``storage``: one ``rw``
    and any number of ``ro``. A node is started once and stopped or killed once.
    """

    def __init__(
        self,
        role: Role,
        metadata_uri: str,
        storage: Path,
        *,
        address: str = "127.0.0.1:0",
        options: Options | None = None,
    ) -> None:
        """Describe a node; nothing runs yet.

        Args:
            role: ``rw`` or ``ro``; both take every call.
            metadata_uri: ``mysql://…``, ``sqlite:///PATH``, or ``sqlite://:@:/`` for a file below ``storage``.
            storage: The shared folder.
            address: Where to listen; the attribute has the port once the node has started.
            options: Other than an unmodified server's.
        """
        self.address = address
        self.hooks = Hooks()
        self._options = options or Options()
        storage.mkdir(parents=True, exist_ok=True)
        metadata = Metadata(metadata_uri, storage, self.hooks)
        searcher = Searcher(metadata, storage, self._options)
        self._parts = Parts(role, self._options, self.hooks, metadata, storage, searcher)
        self._writer, self._upkeep = Writer(self._parts), Upkeep(self._parts)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock: FolderLock | None = None
        self._listening = threading.Lock()

    def __enter__(self) -> Milvus1Double:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Take the lock (``rw``), prepare the tables, and serve.

        Raises:
            RuntimeError: when another ``rw`` node has the folder, or the tables lack a column.
        """
        writable = self._parts.role == "rw"
        if writable:
            self._lock = FolderLock(self._parts.storage)
        self._parts.metadata.prepare()
        if writable:
            self._parts.metadata.remove_shadows(SHADOW)
        if "start" in self._options.merges:
            self._upkeep.merge(self._upkeep.everything())
        calls = methods(
            ReadCalls(self._parts),
            WriteCalls(self._parts, self._writer, self._upkeep),
            Commands(self._parts, self.address),
        )
        self._service = Service(calls, self.hooks, self.drop_connections)
        self._server = self._listen()
        if writable:
            self._start_background()

    def _listen(self) -> grpc.Server:
        server = grpc.server(ThreadPoolExecutor(64, "milvus1-rpc"), [self._service], options=_SERVER_OPTIONS)
        host = self.address.rpartition(":")[0]
        self.address = f"{host}:{server.add_insecure_port(self.address)}"
        server.start()
        return server

    def _start_background(self) -> None:
        if self._options.auto_flush_interval_s:
            self._repeat("flush", self._options.auto_flush_interval_s, self._writer.flush_all)
        self._repeat("build", _POLL_S, self._upkeep.build_pending)
        self._repeat("clean", _POLL_S, self._upkeep.clean)
        if "flush" in self._options.merges:
            self._repeat("merge", _POLL_S, lambda: self._upkeep.merge(self._upkeep.everything()))

    def _repeat(self, name: str, interval_s: float, work: Callable[[], None]) -> None:
        def loop() -> None:
            while not self._stopping.wait(interval_s):
                try:
                    work()
                except Killed:
                    return
                except (Refused, OSError) as error:  # the database or the folder is away; it may come back
                    _log.warning("%s: %s", name, error)

        thread = threading.Thread(target=loop, name=f"milvus1-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def cached_files(self) -> list[str]:
        """Return ``file_id`` of what is in this node's cache."""
        return self._parts.searcher.cached()

    def merge_now(self) -> None:
        """Merge the small raw segments of every collection, as the background does when ``merges`` has ``flush``."""
        self._upkeep.merge(self._upkeep.everything())

    def drop_connections(self) -> None:
        """Break every connection; calls under way fail for the client and are carried out all the same."""
        with self._listening:
            if not self._stopping.is_set():
                self._server.stop(None).wait(10)
                self._server = self._listen()

    def stop(self) -> None:
        """End as on SIGTERM: what is buffered is flushed first. May be called twice, and after ``kill``."""
        if self._begin_to_stop():
            self.hooks.release_all()
            self._join_background()
            try:
                self._writer.flush_all()
            except Refused as error:
                _log.warning("the last flush failed: %s", error)
            self._finish()

    def kill(self) -> None:
        """End as on SIGKILL: what paused or waited ends there, without its next statement; buffers are lost."""
        if self._begin_to_stop():
            self._finish()

    def _begin_to_stop(self) -> bool:
        with self._listening:
            if self._stopping.is_set():
                return False
            self._stopping.set()
            self._server.stop(None).wait(10)
        return True

    def _join_background(self) -> None:
        for thread in self._threads:
            thread.join(10)

    def _finish(self) -> None:
        self.hooks.kill()
        self._join_background()
        self._service.close()
        self._parts.metadata.close()
        if self._lock is not None:
            self._lock.close()
