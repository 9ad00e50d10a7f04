"""Between this program's options and the keys of a Milvus server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from milvus_node.config import NodeOptions
from milvus_node.roles import Role
from milvus_node.settings.keys import size_of, size_text


def with_saved(options: NodeOptions, saved: Mapping[str, str]) -> NodeOptions:
    """The options with what ``set_config`` changed before this start."""
    cache, storage = options.cache, options.storage
    return replace(
        options,
        cache=replace(
            cache,
            cache_size_bytes=size_of(saved.get("cache.cache_size", "")) or cache.cache_size_bytes,
            insert_buffer_size_bytes=size_of(saved.get("cache.insert_buffer_size", ""))
            or cache.insert_buffer_size_bytes,
            preload_collection=saved.get("cache.preload_collection", cache.preload_collection),
        ),
        storage=replace(
            storage,
            auto_flush_interval_s=float(saved.get("storage.auto_flush_interval", storage.auto_flush_interval_s)),
        ),
    )


def sizes_of(options: NodeOptions) -> dict[str, int]:
    """The sizes, in bytes, that can be changed while a node runs, by their keys."""
    return {
        "cache.cache_size": options.cache.cache_size_bytes,
        "cache.insert_buffer_size": options.cache.insert_buffer_size_bytes,
    }


def values_of(options: NodeOptions, metadata: str) -> dict[str, str]:
    """The values of the keys that this program's options decide; ``metadata`` is the URI without its password."""
    host, _, port = options.address.rpartition(":")
    http_port = options.http_address.rpartition(":")[2]
    return {
        "cluster.role": "rw" if options.role is Role.WRITABLE else "ro",
        "general.meta_uri": "sqlite://:@:/" if metadata.startswith("sqlite") else metadata,
        "network.bind.address": host,
        "network.bind.port": port,
        "network.http.enable": "true" if options.http_address else "false",
        "network.http.port": http_port or "19121",
        "storage.path": str(options.storage.path),
        "storage.auto_flush_interval": f"{options.storage.auto_flush_interval_s:g}",
        "storage.file_cleanup_timeout": f"{options.storage.file_cleanup_timeout_s:g}",
        "wal.path": str(options.wal_path),
        "wal.recovery_error_ignore": "true" if options.wal.recovery_error_ignore else "false",
        "cache.cache_size": size_text(options.cache.cache_size_bytes),
        "cache.insert_buffer_size": size_text(options.cache.insert_buffer_size_bytes),
        "cache.preload_collection": options.cache.preload_collection,
        "logs.level": options.log.level,
    }
