"""What a load has done, on disk: enough to go on after a crash with no row twice and none lost.

Blocks are numbered from 0. Before a block is sent for the first time the journal says that it was *begun*; once the
server has acknowledged it, that it is *done*. A block that was begun and is not known to be done is in doubt: whoever
goes on must look whether it arrived. The file is JSON, written anew beside the old one, synced, and renamed over it;
the open file is locked, so that two loads never share a journal.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mishards.errors import ResumeError

_FORM = 1


@dataclass(slots=True)
class Record:
    """The content of a journal."""

    job: Mapping[str, Any]
    """What is loaded, from where, to where; work that goes on must be the same."""
    rows_before: int = -1
    """Rows of the collection before the first block; -1 when nobody has looked yet."""
    begun: int = 0
    """Blocks with a smaller number may have been sent."""
    done: int = 0
    """Blocks with a smaller number were acknowledged."""
    also_done: list[int] = field(default_factory=list)
    """Acknowledged blocks from ``done`` on, rising."""
    rows: int = 0
    """Rows that were acknowledged."""
    bad_rows: int = 0
    """Bad rows in blocks that were begun."""
    bad_bytes: int = 0
    """Length of the list of bad rows."""
    begun_at: float = 0.0
    """When a block was last begun, in seconds since the epoch."""
    complete: bool = False


class Journal:
    """An open journal. Belongs to one thread."""

    def __init__(self, path: Path, job: Mapping[str, Any], *, again: bool = False) -> None:
        """Open the journal of a job, or begin one; ``again`` forgets what one that was complete says.

        Raises:
            ResumeError: the file is the journal of another job, is damaged, or another process has it open.
        """
        self.path = path
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._check_lock()
        found = self._read()
        if found is not None and again and found.complete:
            found = None
        if found is not None and found.job != job:
            self.close()
            changed = sorted(key for key in {*job, *found.job} if job.get(key) != found.job.get(key))
            raise ResumeError(
                f"{path} is about another load: {', '.join(changed)} differ; name another with --state, or remove it"
            )
        self.resumed = found is not None
        self.record = found or Record(dict(job))
        self._doubtful = set(range(self.record.done, self.record.begun)) - set(self.record.also_done)
        if not self.resumed:
            self._write()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others have it. May be repeated."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def forget(self) -> None:
        """Remove the journal of a load that did not begin."""
        self.path.unlink(missing_ok=True)

    def is_done(self, number: int) -> bool:
        """Was the block acknowledged?"""
        return number < self.record.done or number in self.record.also_done

    def is_in_doubt(self, number: int) -> bool:
        """Did an earlier process begin the block, and nobody knows whether it arrived?"""
        return number in self._doubtful

    def set_rows_before(self, rows: int) -> None:
        """Record how many rows the collection had."""
        self.record.rows_before = rows
        self._write()

    def begin(self, number: int, bad_rows: int = 0, bad_bytes: int = 0) -> None:
        """Record that the next block is about to be sent; on disk when it returns."""
        self.record.begun = number + 1
        self.record.bad_rows += bad_rows
        self.record.bad_bytes = max(self.record.bad_bytes, bad_bytes)
        self.record.begun_at = time.time()
        self._write()

    def acknowledge(self, number: int, rows: int) -> None:
        """Record that a block arrived; on disk with the next ``begin`` or ``save``."""
        record = self.record
        record.rows += rows
        record.also_done = sorted({*record.also_done, number})
        while record.also_done and record.also_done[0] == record.done:
            record.done = record.also_done.pop(0) + 1
        self._doubtful.discard(number)

    def save(self, *, complete: bool = False) -> None:
        """Write everything to disk."""
        self.record.complete = complete
        self._write()

    def _read(self) -> Record | None:
        text = self.path.read_text(encoding="utf-8", errors="replace")
        if not text:
            return None
        try:
            content = json.loads(text)
            if content.pop("form") != _FORM:
                raise ValueError("it has another form")
            return Record(**content)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            self.close()
            raise ResumeError(f"{self.path} is no journal of a load: {error}; remove it to begin anew") from error

    def _check_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            current = self.path.stat().st_ino == os.fstat(self._lock).st_ino
        except (BlockingIOError, FileNotFoundError):
            current = False
        if not current:  # locked, or written anew by somebody meanwhile
            self.close()
            raise ResumeError(f"{self.path} is in use by another process; wait for it, or name another with --state")

    def _write(self) -> None:
        written = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        descriptor = os.open(written, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with os.fdopen(descriptor, "wb", closefd=False) as stream:
                stream.write(json.dumps({"form": _FORM, **asdict(self.record)}, indent=1).encode())
            os.fsync(descriptor)
            written.replace(self.path)
        except BaseException:
            os.close(descriptor)
            raise
        self.close()
        self._lock = descriptor
        sync_folder(self.path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
