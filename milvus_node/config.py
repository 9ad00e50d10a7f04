"""The settings of a node and where they come from; the only reader of ``os.environ`` in the node."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from milvus_node.announce import AnnounceOptions
from milvus_node.ingest.maintenance import MaintenanceOptions
from milvus_node.roles import Role
from mishards.logs.options import LogOptions
from mishards.options import Loaded, about, environment_layer, file_layer, flag_layer, load
from mishards.security.options import SecurityOptions, TlsOptions
from mishards.tracing.options import TracingOptions
from mishards.transport.choice import DEFAULT, TRANSPORTS
from mishards.transport.loop import LOOPS

ENVIRONMENT_PREFIX = "MILVUS_NODE"

RELOADABLE = frozenset({"log.level", "cache.cache_size_bytes", "cache.insert_buffer_size_bytes"})
"""Settings that can be changed while a node runs."""


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """Memory."""

    cache_size_bytes: int = field(default=4 << 30, metadata=about("segments kept in memory", minimum=1 << 20))
    insert_buffer_size_bytes: int = field(
        default=1 << 30, metadata=about("unflushed rows in memory; more forces a flush", minimum=1 << 20)
    )
    preload_collection: str = field(
        default="", metadata=about("collections to load before serving, separated by commas; * is all")
    )


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """The shared folder and what is done in it."""

    path: Path = field(default=Path("/var/lib/milvus"), metadata=about("the folder that all nodes share"))
    auto_flush_interval_s: float = field(
        default=1.0, metadata=about("flush every collection this often; 0 turns it off", minimum=0)
    )
    bloom_filters: bool = field(
        default=True,
        metadata=about("write what Milvus 1.x nodes need to get and delete rows by id: 2.7 MB a segment"),
    )
    file_cleanup_timeout_s: float = field(
        default=10.0, metadata=about("superseded files live on this long", minimum=0, maximum=3600)
    )


@dataclass(frozen=True, slots=True)
class WalOptions:
    """The write-ahead log."""

    path: str = field(default="", metadata=about("folder of the log; empty is mishards/wal in storage.path"))
    recovery_error_ignore: bool = field(
        default=False, metadata=about("start with a damaged log, dropping what is behind the damage")
    )


@dataclass(frozen=True, slots=True)
class ElectionSettings:
    """Which of several writable nodes leads."""

    uri: str = field(
        default="database",
        metadata=about("where writable nodes elect a leader; database is the metadata database, none is no election"),
    )
    lease_s: float = field(default=3.0, metadata=about("a leader that is silent is succeeded after this", minimum=0.5))
    renew_s: float = field(
        default=1.0, metadata=about("how often a leader renews; at most half of lease_s", minimum=0.05)
    )
    same_host: bool = field(
        default=True, metadata=about("succeed at once a leader whose process on this machine is gone")
    )


@dataclass(frozen=True, slots=True)
class CallOptions:
    """Admission: threads of each class of calls, and how many calls may wait before one is refused."""

    search_threads: int = field(
        default=max(2, os.cpu_count() or 2),
        metadata=about("searches that run at once", minimum=1, default="the number of CPUs, at least 2"),
    )
    write_threads: int = field(default=64, metadata=about("inserts and deletes that run at once", minimum=1))
    definition_threads: int = field(default=16, metadata=about("flushes, builds, drops that run at once", minimum=1))
    info_threads: int = field(default=8, metadata=about("other calls that run at once", minimum=1))
    max_waiting: int = field(default=1024, metadata=about("calls of a class that may wait for a thread", minimum=0))
    max_message_bytes: int = field(
        default=512 << 20, metadata=about("largest request accepted; -1 is no limit", minimum=-1)
    )


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """A node, whole."""

    name: str = field(default="", metadata=about("name in discovery; empty is the bound address"))
    role: Role = field(default=Role.WRITABLE, metadata=about("what this node is for"))
    address: str = field(default="127.0.0.1:19530", metadata=about("where to listen for gRPC; port 0 is any free one"))
    http_address: str = field(default="127.0.0.1:19121", metadata=about("where to listen for HTTP; empty is nowhere"))
    metadata: str = field(
        default="", metadata=about("URI of the metadata database; empty is SQLite in storage.path", secret=False)
    )
    discovery: str = field(default="", metadata=about("URI where this node announces itself; empty is nowhere"))
    announce: AnnounceOptions = field(default_factory=AnnounceOptions)
    transport: str = field(default=DEFAULT, metadata=about("what speaks gRPC", choices=TRANSPORTS))
    loop: str = field(default="auto", metadata=about("event loop; auto is uvloop where it is installed", choices=LOOPS))
    drain_s: float = field(default=8.0, metadata=about("longest wait for calls under way when stopping", minimum=0))
    storage: StorageOptions = field(default_factory=StorageOptions)
    wal: WalOptions = field(default_factory=WalOptions)
    election: ElectionSettings = field(default_factory=ElectionSettings)
    cache: CacheOptions = field(default_factory=CacheOptions)
    calls: CallOptions = field(default_factory=CallOptions)
    tracing: TracingOptions = field(default_factory=TracingOptions)
    log: LogOptions = field(default_factory=LogOptions)
    tls: TlsOptions = field(default_factory=TlsOptions)
    security: SecurityOptions = field(default_factory=SecurityOptions)

    @property
    def metadata_uri(self) -> str:
        """The metadata URI, or where Milvus keeps it when it is alone."""
        return self.metadata or f"sqlite:///{self.storage.path.absolute() / 'db' / 'meta.sqlite'}"

    @property
    def wal_path(self) -> Path:
        """The folder of the log; not ``wal`` in the storage, where a Milvus server keeps another kind."""
        return Path(self.wal.path) if self.wal.path else self.own_path / "wal"

    @property
    def own_path(self) -> Path:
        """What this program keeps in the storage beside the files of Milvus 1.x."""
        return self.storage.path / "mishards"

    @property
    def maintenance(self) -> MaintenanceOptions:
        """How often the write path does what."""
        return MaintenanceOptions(
            auto_flush_interval_s=self.storage.auto_flush_interval_s,
            file_cleanup_timeout_s=self.storage.file_cleanup_timeout_s,
        )


def load_options(file: Path | None, flags: Mapping[str, tuple[str, object]]) -> Loaded[NodeOptions]:
    """Flags over environment over file over defaults.

    Raises:
        ConfigError: a setting that does not exist or does not fit.
    """
    layers = [] if file is None else [file_layer(file, NodeOptions)]
    layers.append(environment_layer(os.environ, ENVIRONMENT_PREFIX, NodeOptions))
    layers.append(flag_layer(flags))
    return load(NodeOptions, *layers)
