"""Discovery ``lines``: a text file with one node a line, ``NAME ROLE ADDRESS``.

Features: whole sets yes; announces no; server needed none.

Address form: ``lines:///FILE``.
"""

from __future__ import annotations

import threading
from pathlib import Path
from urllib.parse import urlsplit

from mishards.discovery.api import Listener, NodeRecord, NodeRole
from mishards.errors import DiscoveryError, PluginError


class LinesDiscovery:
    """Reads the file again and again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stopped = threading.Event()
        self._first = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self, listener: Listener) -> None:
        """Begin to read."""
        self._thread = threading.Thread(target=self._run, args=(listener,), name="discovery-lines", daemon=True)
        self._thread.start()
        self._first.wait(5)

    def close(self) -> None:
        """Stop reading."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(2)

    def _run(self, listener: Listener) -> None:
        while not self._stopped.is_set():
            try:
                lines = self._path.read_text(encoding="utf-8").splitlines()
            except OSError as error:
                listener.lost(DiscoveryError(f"{self._path}: {error.strerror}"))
            else:
                listener.nodes(frozenset(record for line in lines if (record := read(line)) is not None))
            self._first.set()
            self._stopped.wait(0.01)


def read(line: str) -> NodeRecord | None:
    """The node of a line; None where the line is none."""
    try:
        name, role, address = line.split()
        return NodeRecord(name, NodeRole(role), address)
    except ValueError:
        return None


class LinesPlugin:
    """The entry point's object."""

    def discovery(self, uri: str) -> LinesDiscovery:
        """A discovery over the file that the URI names."""
        parts = urlsplit(uri)
        if not parts.path:
            raise PluginError(f"{uri} names no file; expected lines:///FILE")
        return LinesDiscovery(Path(parts.path))


plugin = LinesPlugin()
