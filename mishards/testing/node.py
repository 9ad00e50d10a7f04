"""A node of Milvus 1.x in memory, quirks included, over a ``World``.

Literal, because a router must live with each: unknown file ids are passed over without a word while one is known;
files marked for deletion are refused; an empty list of files searches everything; answers are as wide as the rows that
were there, with a column of id -1 behind them; tags are ignored when files are named; rows deleted after a segment was
loaded are still found until the node is told to reload it; an unknown command is answered with success.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from mishards.catalog.records import FileRecord, FileType
from mishards.errors import (
    CollectionNotFound,
    IllegalDimension,
    IllegalRows,
    InvalidFileId,
    MishardsError,
    RequestError,
    UnknownMethod,
)
from mishards.kinds import MetricType
from mishards.testing.world import Vectors, World, nearest
from mishards.topk import EMPTY_DISTANCE, NO_ID
from mishards.transport.api import Call
from mishards.wire.limits import check_topk
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.replies import METHODS, error_reply, ok_status

_RAW = (FileType.RAW, FileType.TO_INDEX, FileType.INDEX, FileType.BACKUP)


class LiteralNode:
    """Answers calls; give it to a server as its handler."""

    def __init__(self, world: World, commands: Mapping[str, str] | None = None) -> None:
        """``commands`` are answered besides those that every node knows."""
        self._world = world
        self._commands = {"version": "1.1.0", "status": "OK", "mode": "CPU", **(commands or {})}
        self.replies: list[bytes] = []
        """Replies to give instead of searching, one a search; for faults that only a reply can show."""
        self._loaded: dict[str, tuple[NDArray[np.int64], Vectors]] = {}
        self._methods: Mapping[str, Callable[[bytes], bytes]] = {
            "Cmd": self._cmd,
            "Search": self._search,
            "SearchInFiles": self._search_in_files,
            "ReloadSegments": self._reload,
            "Flush": lambda _request: ok_status().SerializeToString(),
            "Insert": lambda _request: pb.VectorIds(status=ok_status(), vector_id_array=[1]).SerializeToString(),
            "CreateCollection": self._create,
            "DropCollection": self._drop,
        }

    async def __call__(self, call: Call) -> bytes:
        """Answer a call."""
        serve = self._methods.get(call.method)
        if serve is None:
            raise UnknownMethod(call.method)
        try:
            return serve(call.request)
        except MishardsError as error:
            if error.rpc_status is not None or call.method not in METHODS:
                raise
            return error_reply(call.method, error)

    def _cmd(self, request: bytes) -> bytes:
        text = pb.Command.FromString(request).cmd
        reply = self._commands.get(text, "Unknown command")
        return pb.StringReply(status=ok_status(), string_reply=reply).SerializeToString()

    def _create(self, request: bytes) -> bytes:
        asked = pb.CollectionSchema.FromString(request)
        self._world.create(asked.collection_name, asked.dimension, MetricType(asked.metric_type))
        return ok_status().SerializeToString()

    def _drop(self, request: bytes) -> bytes:
        self._world.drop(pb.CollectionName.FromString(request).collection_name)
        return ok_status().SerializeToString()

    def _reload(self, request: bytes) -> bytes:
        for text in pb.ReLoadSegmentsParam.FromString(request).segment_id_array:
            file = self._world.files.get(int(text))
            if file is not None and file.segment_id in self._loaded:
                self._loaded[file.segment_id] = self._world.rows[file.segment_id]
        return ok_status().SerializeToString()

    def _search(self, request: bytes) -> bytes:
        param = pb.SearchParam.FromString(request)
        return self._searched(param, [f for f in self._world.files.values() if self._belongs(f, param.collection_name)])

    def _search_in_files(self, request: bytes) -> bytes:
        asked = pb.SearchInFilesParam.FromString(request)
        if not asked.file_id_array:
            return self._search(asked.search_param.SerializeToString())
        if not all(text.isdecimal() for text in asked.file_id_array):
            raise RequestError("stoul")
        found = [self._world.files[n] for n in map(int, asked.file_id_array) if n in self._world.files]
        if not found or all(file.file_type == FileType.TO_DELETE for file in found):
            raise InvalidFileId("Invalid file id")
        if any(file.file_type == FileType.TO_DELETE for file in found):
            raise MishardsError("Failed to load index file: DISK2CPU")
        return self._searched(asked.search_param, found)

    def _searched(self, param: pb.SearchParam, files: list[FileRecord]) -> bytes:
        if self.replies:
            return self.replies.pop(0)
        check_topk(param.topk)
        table = self._world.tables.get(param.collection_name)
        if table is None:
            raise CollectionNotFound(param.collection_name)
        if not param.query_record_array:
            raise IllegalRows("The vector array is empty. Make sure you have entered vector records.")
        queries = np.array([record.float_data[:] for record in param.query_record_array], np.float32)
        if queries.shape[1] != table.dimension:
            raise IllegalDimension("The vector dimension must be equal to the collection dimension.")
        segments = {file.segment_id for file in files if file.file_type in _RAW}
        if not segments:
            return pb.TopKQueryResult(status=ok_status()).SerializeToString()
        parts = [self._loaded.setdefault(segment, self._world.rows[segment]) for segment in sorted(segments)]
        width = min(param.topk, 1 + sum(min(param.topk, len(ids)) for ids, _ in parts))
        ids, distances = _padded(parts, queries, width, MetricType(table.metric_type))
        return pb.TopKQueryResult(
            status=ok_status(), row_num=len(queries), ids=ids.ravel().tolist(), distances=distances.ravel().tolist()
        ).SerializeToString()

    def _belongs(self, file: FileRecord, collection: str) -> bool:
        table = self._world.tables.get(file.table_id)
        return table is not None and collection in (table.table_id, table.owner_table)


def _padded(
    parts: list[tuple[NDArray[np.int64], Vectors]], queries: Vectors, width: int, metric: MetricType
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    ids = np.concatenate([ids for ids, _ in parts])
    found, distances = nearest(ids, np.concatenate([vectors for _, vectors in parts]), queries, width, metric)
    missing = ((0, 0), (0, width - found.shape[1]))
    return (
        np.pad(found, missing, constant_values=NO_ID),
        np.pad(distances, missing, constant_values=float(EMPTY_DISTANCE)),
    )
