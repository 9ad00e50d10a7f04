"""The calls that change something, and ``Cmd``. A read-only node takes writes; only ReloadSegments looks at roles."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from harness.milvus1 import checks, finding, reading
from harness.milvus1.clock import microseconds
from harness.milvus1.kinds import Code, Refused, State
from harness.milvus1.metadata import Collection
from harness.milvus1.parts import Parts
from harness.milvus1.upkeep import Upkeep
from harness.milvus1.writing import Writer
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.protos.status_pb2 import Status

_AUTO_IDS, _USER_IDS = 1, 2
_IDS_ARE_GIVEN = "Entities IDs are user-defined. Please provide IDs for all entities of the collection."
_IDS_ARE_MADE = "Entities IDs are auto-generated. All vectors of this collection must use auto-generated IDs."
_MOST_PARTITIONS = 4096


class WriteCalls:
    """Definitions, rows, and what is done to segments on request; each method is one RPC."""

    def __init__(self, parts: Parts, writer: Writer, upkeep: Upkeep) -> None:
        self._parts = parts
        self._metadata = parts.metadata
        self._writer = writer
        self._upkeep = upkeep

    def create_collection(self, request: pb.CollectionSchema) -> Status:
        """Create a collection; ``extra_params`` are ignored."""
        name = request.collection_name
        checks.check_name(name)
        metric = checks.check_schema(request.dimension, request.index_file_size, request.metric_type)
        if self._metadata.collection(name) is not None:
            raise Refused(Code.ILLEGAL_COLLECTION_NAME, "Collection already exists")
        if self._metadata.is_dropping(name):
            text = "Collection already exists and it is in delete state, please wait a second"
            raise Refused(Code.UNEXPECTED, text)
        size = request.index_file_size * 2**20
        self._metadata.add_collection(
            Collection(
                None, name, State.NORMAL, request.dimension, microseconds(), 0, size, metric.flat(), "{}", metric
            )
        )
        return Status()

    def drop_collection(self, request: pb.CollectionName) -> Status:
        """Mark a collection and all that is in it as dropped."""
        collection = finding.root(self._metadata, request.collection_name)
        self._upkeep.drop(self._metadata.with_partitions(collection))
        return Status()

    def create_partition(self, request: pb.PartitionParam) -> Status:
        """Create a partition with the definitions of its collection."""
        checks.check_name(request.collection_name)
        if checks.trimmed(request.tag) == checks.DEFAULT_TAG:
            raise Refused(Code.UNEXPECTED, f"'{checks.DEFAULT_TAG}' is built-in partition tag")
        tag = checks.checked_tag(request.tag)
        owner = finding.root(self._metadata, request.collection_name)
        tags = [row.partition_tag for row in self._metadata.collections(owner.table_id)]
        if len(tags) >= _MOST_PARTITIONS:
            text = f"The number of partitions exceeds the upper limit({_MOST_PARTITIONS})"
            raise Refused(Code.UNEXPECTED, text)
        if tag in tags:
            raise Refused(Code.UNEXPECTED, "Duplicate partition is not allowed")
        new = {"id": None, "table_id": str(self._parts.names.take()), "created_on": microseconds(), "flag": 0}
        row = replace(owner, owner_table=owner.table_id, partition_tag=tag, flush_lsn=0, **new)  # type: ignore[arg-type] # one dict of several types
        self._metadata.add_collection(row)
        return Status()

    def drop_partition(self, request: pb.PartitionParam) -> Status:
        """Mark a partition as dropped."""
        checks.check_name(request.collection_name)
        if checks.trimmed(request.tag) == checks.DEFAULT_TAG:
            raise Refused(Code.ILLEGAL_COLLECTION_NAME, "Default partition cannot be dropped.")
        tag = checks.checked_tag(request.tag)
        owner = finding.root(self._metadata, request.collection_name)
        self._upkeep.drop([finding.partition(self._metadata, owner, tag)])
        return Status()

    def insert(self, request: pb.InsertParam) -> pb.VectorIds:
        """Buffer rows and return their ids; the first insert fixes who makes the ids."""
        checks.check_name(request.collection_name)
        checks.check_not_empty(request.row_record_array)
        count, given = len(request.row_record_array), request.row_id_array
        if given and len(given) != count:
            text = "The size of vector ID array must be equal to the size of the vector."
            raise Refused(Code.ILLEGAL_VECTOR_ID, text)
        owner = finding.root(self._metadata, request.collection_name)
        flag = _USER_IDS if given else _AUTO_IDS
        if owner.flag not in (0, flag):
            raise Refused(Code.ILLEGAL_VECTOR_ID, _IDS_ARE_GIVEN if owner.flag == _USER_IDS else _IDS_ARE_MADE)
        rows = checks.vectors(request.row_record_array, owner)
        table = finding.partition(self._metadata, owner, request.partition_tag)
        first = 0 if given else self._parts.names.take(count)
        ids = np.array(given or range(first, first + count), dtype=np.int64)
        self._writer.insert(table, rows, ids)
        if owner.flag != flag:
            self._metadata.update_collection(owner.table_id, flag=flag)
        return pb.VectorIds(vector_id_array=ids.tolist())

    def delete_by_id(self, request: pb.DeleteByIDParam) -> Status:
        """Delete from a partition, or from everywhere; neither an unknown id nor an unknown tag is an error."""
        owner = finding.root(self._metadata, request.collection_name)
        tables = self._metadata.with_partitions(owner)
        if tag := checks.trimmed(request.partition_tag):
            tables = [row for row in tables if (row.partition_tag or checks.DEFAULT_TAG) == tag]
        self._writer.delete(tables, request.id_array)
        return Status()

    def flush(self, request: pb.FlushParam) -> Status:
        """Flush collections, all of them when none is named."""
        if not request.collection_name_array:
            self._writer.flush_all()
        for name in request.collection_name_array:
            row = self._metadata.collection(name)
            if row is None or row.owner_table:
                raise Refused(Code.COLLECTION_NOT_EXISTS, checks.unknown_collection(name))
            self._flush(row)
        return Status()

    def _flush(self, root: Collection) -> None:
        self._writer.flush(table.table_id for table in self._metadata.with_partitions(root))

    def compact(self, request: pb.CollectionName) -> Status:
        """Rewrite the segments of which a tenth or more is deleted."""
        self._upkeep.compact(finding.root(self._metadata, request.collection_name))
        return Status()

    def create_index(self, request: pb.IndexParam) -> Status:
        """Flush, merge, and wait until the writable node has built every index."""
        collection = finding.root(self._metadata, request.collection_name)
        params = reading.parsed_params(request.extra_params)
        engine = checks.checked_index(collection, request.index_type, params)
        self._flush(collection)
        self._upkeep.create_index(collection, engine, checks.canonical(params))
        return Status()

    def drop_index(self, request: pb.CollectionName) -> Status:
        """Remove a collection's index."""
        self._upkeep.drop_index(finding.root(self._metadata, request.collection_name))
        return Status()

    def preload(self, request: pb.PreloadCollectionParam) -> Status:
        """Load what a search covers."""
        self._parts.searcher.preload(self._matching(request))
        return Status()

    def release(self, request: pb.PreloadCollectionParam) -> Status:
        """Drop what a search covers from the cache."""
        self._parts.searcher.forget(self._parts.searcher.files_of(self._matching(request)))
        return Status()

    def _matching(self, request: pb.PreloadCollectionParam) -> list[Collection]:
        collection = finding.root(self._metadata, request.collection_name)
        return finding.matching(self._metadata, collection, request.partition_tag_array)

    def reload_segments(self, request: pb.ReLoadSegmentsParam) -> Status:
        """Read deletes again, by row id; only a read-only node does anything, and only to files in its cache."""
        if self._parts.role == "ro":
            checks.check_name(request.collection_name)
            self._parts.searcher.reload(reading.parsed_file_ids(request.segment_id_array))
        return Status()


class Commands:
    """``Cmd`` and the configuration of one node."""

    def __init__(self, parts: Parts, address: str) -> None:
        host, _, port = address.rpartition(":")
        options = parts.options
        self._version = options.version
        self._config = {
            "cluster.enable": "true",
            "cluster.role": parts.role,
            "network.bind.address": host,
            "network.bind.port": port,
            "storage.path": str(parts.storage),
            "storage.auto_flush_interval": f"{options.auto_flush_interval_s:g}",
            "storage.file_cleanup_timeout": f"{options.cleanup_delay_s:g}",
            "cache.cache_size": "4GB",
            "cache.insert_buffer_size": "1GB",
            "engine_config.search_combine_nq": "64",
            "engine_config.use_blas_threshold": "1100",
            "wal.enable": "true",
        }

    def answer(self, request: pb.Command) -> pb.StringReply:
        """Answer a command; one that is unknown is answered so, with success."""
        simple = {
            "version": self._version,
            "status": "OK",
            "mode": "CPU",
            "build_commit_id": "0" * 40,
            "tasktable": "{}",
            "requests": '{"requests":[]}',
            "get_system_info": '{"memory_total":"8589934592","memory_used":"1073741824"}',
        }
        words = request.cmd.split(" ")
        if words[0] in ("get_config", "set_config"):
            return pb.StringReply(string_reply=self._configure(request.cmd, words))
        return pb.StringReply(string_reply=simple.get(request.cmd, "Unknown command"))

    def _configure(self, command: str, words: list[str]) -> str:
        if len(words) != (2 if words[0] == "get_config" else 3):
            raise Refused(Code.UNEXPECTED, f"Invalid command: {command}")
        key = words[1]
        if words == ["get_config", "*"]:
            return json.dumps(_nested(self._config.items()))
        if "." not in key:
            raise Refused(Code.UNEXPECTED, f"Invalid command: {command}")
        if key not in self._config:
            raise Refused(Code.UNEXPECTED, f"Config node invalid: {key}")
        if words[0] == "get_config":
            return self._config[key]
        self._config[key] = words[2]
        return ""


def _nested(items: Iterable[tuple[str, str]]) -> dict[str, dict[str, str]]:
    split = [(*key.split(".", 1), value) for key, value in items]
    grouped = itertools.groupby(sorted(split), key=lambda item: item[0])
    return {parent: {name: value for _, name, value in group} for parent, group in grouped}
