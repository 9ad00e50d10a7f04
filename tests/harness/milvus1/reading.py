"""The searches of one node: files chosen by id or by collection, loaded into a cache that sees no deletes by itself."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.milvus1 import segments
from harness.milvus1.kinds import RAW_DATA, SEARCHED, Code, Engine, FileType, Metric, Refused
from harness.milvus1.metadata import Collection, File, Metadata
from harness.milvus1.options import Options
from harness.milvus1.scan import PLACEHOLDER, Hit, Probe, merged, nearest, padding
from harness.milvus1.segments import Ids, Rows

_MOST_FILES = 65_536


@dataclass
class _Loaded:
    """A file in the cache; only ``live`` and ``read_at`` ever change."""

    rows: Rows
    ids: Ids
    live: NDArray[np.bool_]
    read_at: int
    """The row's ``updated_time`` when ``live`` was read."""


@dataclass(frozen=True)
class Query:
    """What a search asks, after its checks."""

    queries: Rows
    """``uint8[nq, bytes of a vector]``."""
    topk: int
    params: dict[str, Any]


def parsed_file_ids(texts: Iterable[str]) -> list[int]:
    """Read the decimal numbers as ``stoul`` does: leading blanks and a sign are welcome, what follows is ignored.

    Raises:
        Refused: ``stoul`` when one begins with no number.
    """
    found = [re.match(r"\s*\+?(-?\d+)", text) for text in texts]
    if any(match is None or int(match[1]) >= 2**64 for match in found):
        raise Refused(Code.UNEXPECTED, "stoul")
    return [int(match[1]) % 2**64 for match in found if match]


class Searcher:
    """Searches for one node; called by its search thread, and by its writing threads to forget and to reload."""

    def __init__(self, metadata: Metadata, storage: Path, options: Options) -> None:
        self._metadata = metadata
        self._storage = storage
        self._options = options
        self._lock = threading.RLock()
        self._cache: dict[Path, _Loaded] = {}

    def files_by_id(self, ids: Sequence[int]) -> list[File]:
        """Return the files that the database has now under these row ids; those it has not are left out.

        Raises:
            Refused: when there is none at all, and when the collection of any of them has been dropped.
        """
        if len(ids) > _MOST_FILES:
            raise Refused(Code.UNEXPECTED, f"Search files count exceed scheduler limit: {_MOST_FILES}")
        files = self._metadata.files_by_id([number for number in set(ids) if number < 2**63])
        if self._options.skips_deleted_files:
            files = [file for file in files if file.file_type != FileType.TO_DELETE]
        self._collections(files)
        if not files:
            raise Refused(Code.UNEXPECTED, "Invalid file id")
        return files

    def files_of(self, tables: Sequence[Collection]) -> list[File]:
        """Return the files that a search without file ids covers."""
        return self._metadata.files(tables, SEARCHED)

    def _collections(self, files: Iterable[File]) -> dict[str, Collection]:
        found = {}
        for name in dict.fromkeys(file.table_id for file in files):
            row = self._metadata.collection(name)
            if row is None:
                raise Refused(Code.UNEXPECTED, f"Collection {name} not found")
            found[name] = row
        return found

    def search(self, files: Sequence[File], query: Query) -> list[list[Hit]]:
        """Return one row of hits for each query, all equally wide; nothing where there are no files.

        The width is that of one placeholder and, for each file, of ``topk`` or its ``row_count``, at most ``topk``.

        Raises:
            Refused: when any file cannot be loaded: the whole request fails.
        """
        if not files:
            return []
        collections = self._collections(files)
        rows: list[list[Hit]] = [list(PLACEHOLDER) for _ in query.queries]
        for file in files:
            collection = collections[file.table_id]
            engine = self._engine(file, collection)
            loaded = self._load(file, collection, engine)
            metric = self._metric(engine, collection, query.params)
            width = min(query.topk, file.row_count)
            if width == 0:
                continue
            fill = padding(engine, metric, hnsw_pads_with_minus_one=self._options.hnsw_pads_with_minus_one)
            found = None if engine in (Engine.FLAT, Engine.BIN_FLAT) else self._options.approximate_hits
            for position, vector in enumerate(query.queries):
                hits = nearest(Probe(metric, vector, width, found, fill), loaded.rows, loaded.ids, loaded.live)
                rows[position] = merged(rows[position], hits, query.topk, larger_first=metric is Metric.IP)
        return rows

    def _engine(self, file: File, collection: Collection) -> Engine:
        """A file of any other type, TO_DELETE for one, is taken for what its row's ``engine_type`` says."""
        return Metric(collection.metric_type).flat() if file.file_type in RAW_DATA else Engine(file.engine_type)

    def _metric(self, engine: Engine, collection: Collection, params: dict[str, Any]) -> Metric:
        own = Metric(collection.metric_type)
        if engine not in (Engine.FLAT, Engine.BIN_FLAT) or "metric_type" not in params:
            return own
        asked = params["metric_type"]
        if asked not in list(Metric) or Metric(asked).is_binary != own.is_binary:
            raise Refused(Code.ILLEGAL_ARGUMENT, "Illegal metric type")
        return Metric(asked)

    def _load(self, file: File, collection: Collection, engine: Engine) -> _Loaded:
        """Return a file from the cache, by its path, or from the shared folder."""
        place, folder = segments.location(self._storage, file), segments.segment_folder(self._storage, file)
        with self._lock:
            loaded = self._cache.get(place)
            try:
                if loaded is None:
                    if engine not in (Engine.FLAT, Engine.BIN_FLAT):
                        segments.check_index(place)
                    vector_bytes = Metric(collection.metric_type).vector_bytes(collection.dimension)
                    rows, ids = segments.read_rows(folder, vector_bytes), segments.read_ids(folder)
                    loaded = _Loaded(rows, ids, segments.live_rows(folder, len(ids)), file.updated_time)
                    self._cache[place] = loaded
                elif self._options.reads_deletes_by_updated_time and loaded.read_at != file.updated_time:
                    self._read_deletes(place, file.updated_time)
            except OSError as error:
                raise Refused(Code.UNEXPECTED, self._options.load_failure.format(location=place)) from error
            return loaded

    def _read_deletes(self, place: Path, updated_time: int) -> None:
        loaded = self._cache.get(place)
        if loaded is not None:
            loaded.live, loaded.read_at = segments.live_rows(place.parent, len(loaded.ids)), updated_time

    def preload(self, tables: Sequence[Collection]) -> None:
        """Load what a search of these collections and partitions covers."""
        for file in self.files_of(tables):
            collection = next(row for row in tables if row.table_id == file.table_id)
            self._load(file, collection, self._engine(file, collection))

    def reload(self, ids: Sequence[int]) -> None:
        """Read the deletes again of those of these files that are cached; vectors are not loaded again."""
        files = self._metadata.files_by_id(ids)
        self._collections(files)
        self.reload_files(files)

    def reload_files(self, files: Iterable[File]) -> None:
        """Read the deletes again of those of these files that are cached."""
        with self._lock:
            for file in files:
                self._read_deletes(segments.location(self._storage, file), file.updated_time)

    def forget(self, files: Iterable[File]) -> None:
        """Drop files from the cache."""
        with self._lock:
            for file in files:
                self._cache.pop(segments.location(self._storage, file), None)

    def cached(self) -> list[str]:
        """Return the names of the cached files: ``file_id`` of their rows. For tests; the real server tells nobody."""
        with self._lock:
            return sorted(place.name for place in self._cache)


def parsed_params(pairs: Iterable[Any]) -> dict[str, Any]:
    """Return the JSON object under the key ``params``.

    Raises:
        ValueError: on malformed JSON, which leaves the server as a gRPC error.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        if pair.key == "params":
            found = json.loads(pair.value)
    return found
