"""Routers as they are shipped, over a real catalog and any nodes, and a look at what they answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from machine import load_average
from transport_load import process

from mishards.catalog.definitions import DefinitionWriter
from mishards.catalog.engine import open_engine
from mishards.catalog.files import FileWriter, NewFile
from mishards.catalog.reader import CatalogReader
from mishards.catalog.records import FileType
from mishards.catalog.transaction import WritableCatalog
from mishards.kinds import IndexType, MetricType
from mishards.transport.api import SERVICE
from mishards.wire.protos import milvus_pb2 as pb

DIMENSION = 128
Settings = Mapping[str, Mapping[str, Any]]
"""Section → setting → value."""

_OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
_SEGMENT_ROWS = 10_000


def catalog(folder: Path, name: str, segments: int) -> tuple[str, list[int]]:
    """Record a collection of raw segments that nobody has on disk; the URI and the ids of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    uri = f"sqlite:///{folder}/meta.sqlite"
    engine = open_engine(uri)
    writable = WritableCatalog(engine)
    writable.prepare()
    writable.claim()
    DefinitionWriter(writable).create_collection(name, DIMENSION, 1 << 30, MetricType.L2)
    ids = [str(1_700_000_000_000_000_000 + number) for number in range(segments)]
    size = _SEGMENT_ROWS * DIMENSION * 4
    files = [NewFile(name, one, one, FileType.RAW, IndexType.FLAT, size, _SEGMENT_ROWS) for one in ids]
    FileWriter(writable).flush(files, (), 1, [name])
    engine.dispose()
    reader = CatalogReader(open_engine(uri))
    found = [segment.file.id for segment in reader.read(None).collection(name).segments]
    reader.close()
    return uri, found


@contextmanager
def router(
    folder: Path,
    metadata: str,
    discovery: str,
    *,
    core: int | None = 0,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[tuple[int, str]]:
    """A router as it is shipped, metrics and all, on a core; its process id and address.

    ``settings`` are added to the defaults, section by section.
    """
    whole: dict[str, dict[str, Any]] = {
        "network": {"address": "127.0.0.1:0", "http_address": "127.0.0.1:0"},
        "metadata": {"uri": metadata},
        "discovery": {"uri": discovery},
        "log": {"level": "warning"},
    }
    for section, values in (settings or {}).items():
        whole[section] = {**whole.get(section, {}), **values}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"router-{len(list(folder.glob('router-*')))}.yaml"
    path.write_text(json.dumps(whole))
    with process([sys.executable, "-m", "mishards", "serve", "--config", str(path)], core) as started:
        yield started


def static(writable: str, readonly: Sequence[str] = ()) -> str:
    """The URI of these nodes."""
    return f"static://?writable={writable}" + (f"&readonly={','.join(readonly)}" if readonly else "")


def ask(address: str, method: str, request: bytes, timeout_s: float = 60) -> bytes:
    """One call, as any client makes it."""
    opened: Any = grpc.insecure_channel(address, options=_OPTIONS)
    with opened as channel:
        reply: bytes = channel.unary_unary(f"/{SERVICE}/{method}")(request, timeout=timeout_s)
    return reply


def expect_hits(address: str, search: bytes, hits: int) -> pb.TopKQueryResult:
    """Search once, and end the benchmark unless all hits are there: a load generator does not look at answers."""
    found = pb.TopKQueryResult.FromString(ask(address, "Search", search))
    if found.status.error_code or len(found.ids) != hits:
        raise SystemExit(
            f"{address} answered {len(found.ids)} hits, not {hits}: {found.status.reason or 'no error'} "
            f"(load {load_average():.1f})"
        )
    return found
