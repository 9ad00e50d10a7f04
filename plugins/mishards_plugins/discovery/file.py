"""Discovery ``file``: several processes of one machine, and no server.

Features: whole sets yes; announces yes; server needed none; death noticed at once (the kernel frees the lock).

Address form: ``file:///FOLDER``.

Options (in the query):
    ``poll_ms``: milliseconds between looks at the folder, default 100.

The folder holds one file ``<name>.json`` a node. The announcing process keeps an exclusive ``flock`` on its file for as
long as it lives; a file that nobody holds belongs to a dead node and is passed over. A record is replaced by renaming a
new, already locked file over the old one, so that readers see the old one or the new one, alive both times. The folder
must be on a local file system.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from mishards.discovery.api import NodeRecord
from mishards.discovery.record import decode, encode
from mishards.discovery.select import check_known_options
from mishards.errors import BadNodeRecord, DiscoveryError, PluginError
from mishards_plugins.discovery.polled import PolledDiscovery
from mishards_plugins.discovery.reports import Found

log = logging.getLogger(__name__)

_SUFFIX = ".json"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True)
class FileOptions:
    """What the URI says."""

    folder: Path
    poll_s: float = 0.1


def parse(uri: str) -> FileOptions:
    """Read the URI. Raises PluginError."""
    parts = urlsplit(uri)
    query = parse_qs(parts.query, keep_blank_values=True)
    check_known_options(uri, set(query), {"poll_ms"})
    if parts.netloc or not parts.path:
        raise PluginError(f"{uri} names no folder; expected file:///FOLDER")
    try:
        poll_s = float(query.get("poll_ms", ["100"])[0]) / 1000
    except ValueError as error:
        raise PluginError(f"{uri}: poll_ms is no number") from error
    if not 0.001 <= poll_s <= 2:
        raise PluginError(f"{uri}: poll_ms is outside 1..2000")
    return FileOptions(Path(unquote(parts.path)), poll_s)


def entry_name(node: str) -> str:
    """The file name of a node; characters that are awkward in one become ``%XX``."""
    return _UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), node) + _SUFFIX


def read_folder(folder: Path, complained: set[str]) -> frozenset[NodeRecord]:
    """The records of living nodes; entries that are none are logged once, through ``complained``. Raises OSError."""
    nodes = {}
    for path in sorted(folder.iterdir()):
        if path.suffix != _SUFFIX:
            continue
        try:
            raw = _read_alive(path)
            if raw is not None:
                node = decode(raw, str(path))
                nodes[node.name] = node
            complained.discard(path.name)
        except (BadNodeRecord, OSError) as error:
            if path.name not in complained:
                complained.add(path.name)
                log.warning("left out of discovery: %s", error)
    return frozenset(nodes.values())


def _read_alive(path: Path) -> bytes | None:
    """What a living process wrote there; None when there is no file or nobody holds it."""
    while True:
        try:
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return file.read()
                if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                    return None
                # The entry was replaced between opening and locking: the one to judge is the new one.
        except FileNotFoundError:
            return None


class FileDiscovery(PolledDiscovery):
    """Looks at the folder again and again."""

    def __init__(self, options: FileOptions) -> None:
        super().__init__("file", options.poll_s)
        self._options = options
        self._complained: set[str] = set()

    def look(self) -> tuple[Found, float]:
        """The nodes whose entries are held now."""
        folder = self._options.folder
        try:
            return Found(read_folder(folder, self._complained)), self._options.poll_s
        except OSError as error:
            raise DiscoveryError(f"folder {folder} cannot be read: {error.strerror}") from error


class FileAnnouncer:
    """Holds this process's entry in the folder."""

    def __init__(self, options: FileOptions) -> None:
        self._folder = options.folder
        self._path: Path | None = None
        self._held: int | None = None

    def announce(self, node: NodeRecord) -> None:
        """Write and lock the entry, then put it in place.

        Raises:
            DiscoveryError: the folder cannot be written, or a living process holds the name.
        """
        path = self._folder / entry_name(node.name)
        if self._path not in (None, path):
            raise DiscoveryError(f"this announcer holds {self._path}; it cannot also announce {node.name}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if self._held is None and _read_alive(path) is not None:
                raise DiscoveryError(f"a living process already announces node {node.name} in {self._folder}")
            descriptor = _put_in_place(path, encode(node) + b"\n")
        except OSError as error:
            raise DiscoveryError(f"cannot announce {node.name} in {self._folder}: {error.strerror}") from error
        self._release()
        self._path, self._held = path, descriptor

    def withdraw(self) -> None:
        """Remove the entry and let go of it."""
        if self._path is not None and self._held is not None:
            try:
                self._path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("the entry %s stays behind, unlocked: %s", self._path, error.strerror)
        self._release()
        self._path = None

    def _release(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None


def _put_in_place(path: Path, content: bytes) -> int:
    """Replace the entry by a locked one; returns the descriptor that holds the lock."""
    fresh = path.with_suffix(f".{os.getpid()}.tmp")
    descriptor = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(descriptor, content)
        fresh.replace(path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class FilePlugin:
    """The entry point's object."""

    def discovery(self, uri: str) -> FileDiscovery:
        """A discovery over the folder that the URI names."""
        return FileDiscovery(parse(uri))

    def announcer(self, uri: str) -> FileAnnouncer:
        """An announcer in the folder that the URI names."""
        return FileAnnouncer(parse(uri))


plugin = FilePlugin()
