"""The node's own branches of the error tree."""

from __future__ import annotations

from mishards.errors import Code, MishardsError, StartError


class StorageError(MishardsError):
    """The shared folder."""


class SegmentMissing(StorageError):
    """A file that the catalog names is not in the folder; stale routing or a real loss."""

    retryable = True


class SegmentDamaged(StorageError):
    """A file's bytes contradict its checksum or its format; it is named and never served."""


class IndexUnreadable(StorageError):
    """An index file that seems sound, but is of a kind that this node cannot search; its raw file serves."""


class DiskFull(StorageError):
    """No room for the bytes; nothing was acknowledged and nothing half-written stays."""

    retryable = True


class LogDamaged(StorageError):
    """The write-ahead log holds bytes that are no record, before its end."""


class FolderLocked(StartError):
    """Another writable node has the folder."""


class CacheFull(MishardsError):
    """A preload asks for more bytes than the cache has."""

    code = Code.CACHE_FAILED
