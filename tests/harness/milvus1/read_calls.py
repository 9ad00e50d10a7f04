"""The calls that change nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from harness.milvus1 import checks, finding, reading, segments
from harness.milvus1.kinds import FLOAT_MAX, RAW_DATA, SEARCHED, STATISTICS_NAMES, Code, Engine, Metric, Refused
from harness.milvus1.metadata import Collection, File
from harness.milvus1.parts import Parts
from harness.milvus1.reading import Query
from harness.milvus1.scan import Hit
from harness.milvus1.segments import Rows
from mishards.wire.protos import milvus_pb2 as pb

_ON_THE_WIRE = {Engine.BIN_FLAT: Engine.FLAT, Engine.BIN_IVF_FLAT: Engine.IVF_FLAT}


class ReadCalls:
    """Searches, look-ups by id, and descriptions; each method is one RPC."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._metadata = parts.metadata

    def search(self, request: pb.SearchParam) -> pb.TopKQueryResult:
        """Search a collection, or those of its partitions that the tags match."""
        collection, query = self._checked(request)
        tables = finding.matching(self._metadata, collection, request.partition_tag_array)
        return _result(self._parts.searcher.search(self._parts.searcher.files_of(tables), query))

    def search_in_files(self, request: pb.SearchInFilesParam) -> pb.TopKQueryResult:
        """Search the files with these row ids; an empty list is a plain search."""
        if not request.file_id_array:
            return self.search(request.search_param)
        _, query = self._checked(request.search_param)
        files = self._parts.searcher.files_by_id(reading.parsed_file_ids(request.file_id_array))
        return _result(self._parts.searcher.search(files, query))

    def search_by_id(self, request: pb.SearchByIDParam) -> pb.TopKQueryResult:
        """Search with stored vectors; an unknown id gives a row without hits."""
        checks.check_topk(request.topk)
        collection = finding.root(self._metadata, request.collection_name)
        params = reading.parsed_params(request.extra_params)
        checks.check_search_params(collection, params, request.topk)
        tables = finding.matching(self._metadata, collection, request.partition_tag_array)
        stored = self._stored(tables, request.id_array)
        known = [row for row in stored if row is not None]
        files = self._parts.searcher.files_of(tables)
        queries = np.array(known, dtype=np.uint8)
        found = iter(self._parts.searcher.search(files, Query(queries, request.topk, params)) if known else [])
        nothing: list[Hit] = [(-1, FLOAT_MAX)] * request.topk
        rows = [nothing if row is None else next(found, []) for row in stored]
        if any(len(row) != request.topk for row in rows):
            raise Refused(Code.UNEXPECTED, "result doesn't match id count")
        return _result(rows)

    def _checked(self, request: pb.SearchParam) -> tuple[Collection, Query]:
        checks.check_name(request.collection_name)
        checks.check_topk(request.topk)
        for tag in request.partition_tag_array:
            checks.checked_tag(tag)
        collection = finding.root(self._metadata, request.collection_name)
        params = reading.parsed_params(request.extra_params)
        checks.check_search_params(collection, params, request.topk)
        return collection, Query(checks.vectors(request.query_record_array, collection), request.topk, params)

    def get_vectors_by_id(self, request: pb.VectorsIdentity) -> pb.VectorsData:
        """Return stored vectors in the order of the ids, an empty record for an unknown one."""
        if not request.id_array:
            raise Refused(Code.ILLEGAL_ARGUMENT, "No vector id specified")
        if len(request.id_array) > 1000:
            raise Refused(Code.ILLEGAL_ARGUMENT, "Input id array size cannot exceed: 1000")
        collection = finding.root(self._metadata, request.collection_name)
        tags = [request.partition_tag] if checks.trimmed(request.partition_tag) else []
        tables = finding.matching(self._metadata, collection, tags)
        if not self._metadata.files(tables, RAW_DATA):
            empty = (
                "Collection is empty" if self._parts.options.version == "1.0.0" else "Collection or partition is empty"
            )
            raise Refused(Code.UNEXPECTED, empty)
        binary = Metric(collection.metric_type).is_binary
        records = [_record(row, binary) for row in self._stored(tables, request.id_array)]
        return pb.VectorsData(vectors_data=records)

    def _stored(self, tables: Sequence[Collection], ids: Iterable[int]) -> list[Rows | None]:
        """Return the first live row of each id, or None."""
        found: dict[int, Rows] = {}
        for file in self._metadata.files(tables, RAW_DATA):
            table = next(row for row in tables if row.table_id == file.table_id)
            folder = segments.segment_folder(self._parts.storage, file)
            stored = segments.read_ids(folder)
            rows = segments.read_rows(folder, Metric(table.metric_type).vector_bytes(table.dimension))
            for offset in np.flatnonzero(segments.live_rows(folder, len(stored)) & np.isin(stored, list(ids))):
                found.setdefault(int(stored[offset]), rows[offset])
        return [found.get(number) for number in ids]

    def get_vector_ids(self, request: pb.GetVectorIDsParam) -> pb.VectorIds:
        """Return the live ids of one segment, in the order of its rows."""
        collection = finding.root(self._metadata, request.collection_name)
        files = [f for f in self._metadata.files_of_segment(request.segment_name) if f.file_type in RAW_DATA]
        if not files:
            raise Refused(Code.UNEXPECTED, "Segment does not exist")
        if files[0].table_id not in [row.table_id for row in self._metadata.with_partitions(collection)]:
            raise Refused(Code.UNEXPECTED, "Segment does not belong to this collection")
        folder = segments.segment_folder(self._parts.storage, files[0])
        ids = segments.read_ids(folder)
        return pb.VectorIds(vector_id_array=ids[segments.live_rows(folder, len(ids))].tolist())

    def has_collection(self, request: pb.CollectionName) -> pb.BoolReply:
        """Tell whether there is a collection of this name."""
        checks.check_name(request.collection_name)
        row = self._metadata.collection(request.collection_name)
        return pb.BoolReply(bool_reply=row is not None and not row.owner_table)

    def describe_collection(self, request: pb.CollectionName) -> pb.CollectionSchema:
        """Return what a collection was created with."""
        row = finding.root(self._metadata, request.collection_name)
        size = row.index_file_size // 2**20
        return pb.CollectionSchema(
            collection_name=row.table_id, dimension=row.dimension, index_file_size=size, metric_type=row.metric_type
        )

    def count_collection(self, request: pb.CollectionName) -> pb.CollectionRowCount:
        """Return the flushed rows that are not deleted."""
        tables = self._metadata.with_partitions(finding.root(self._metadata, request.collection_name))
        rows = sum(file.row_count for file in self._metadata.files(tables, SEARCHED))
        return pb.CollectionRowCount(collection_row_count=rows)

    def show_collections(self, _: pb.Command) -> pb.CollectionNameList:
        """Return the names of all collections."""
        return pb.CollectionNameList(collection_names=[row.table_id for row in self._metadata.collections()])

    def show_collection_info(self, request: pb.CollectionName) -> pb.CollectionInfo:
        """Return the statistics of a collection as JSON."""
        collection = finding.root(self._metadata, request.collection_name)
        partitions, total = [], 0
        for table in self._metadata.with_partitions(collection):
            files = self._metadata.files([table], SEARCHED)
            rows = sum(file.row_count for file in files)
            total += rows
            partitions.append(
                {
                    "row_count": rows,
                    "segments": [_statistics(file) for file in files] or None,
                    "tag": table.partition_tag or checks.DEFAULT_TAG,
                }
            )
        return pb.CollectionInfo(json_info=checks.canonical({"partitions": partitions, "row_count": total}))

    def describe_index(self, request: pb.CollectionName) -> pb.IndexParam:
        """Return a collection's index definition."""
        row = finding.root(self._metadata, request.collection_name)
        engine = Engine(row.engine_type)
        pair = pb.KeyValuePair(key="params", value=checks.canonical(json.loads(row.index_params)))
        index_type = _ON_THE_WIRE.get(engine, engine)
        return pb.IndexParam(collection_name=row.table_id, index_type=index_type, extra_params=[pair])

    def has_partition(self, request: pb.PartitionParam) -> pb.BoolReply:
        """Tell whether a collection has a partition of this tag."""
        collection = finding.root(self._metadata, request.collection_name)
        tags = [row.partition_tag for row in self._metadata.collections(collection.table_id)]
        return pb.BoolReply(bool_reply=checks.trimmed(request.tag) in [checks.DEFAULT_TAG, *tags])

    def show_partitions(self, request: pb.CollectionName) -> pb.PartitionList:
        """Return the tags of a collection's partitions."""
        collection = finding.root(self._metadata, request.collection_name)
        tags = [row.partition_tag for row in self._metadata.collections(collection.table_id)]
        return pb.PartitionList(partition_tag_array=[checks.DEFAULT_TAG, *tags])


def _result(rows: Sequence[Sequence[Hit]]) -> pb.TopKQueryResult:
    hits = [hit for row in rows for hit in row]
    ids, distances = [hit[0] for hit in hits], [hit[1] for hit in hits]
    return pb.TopKQueryResult(row_num=len(rows), ids=ids, distances=distances)


def _record(row: Rows | None, binary: bool) -> pb.RowRecord:
    if row is None:
        return pb.RowRecord()
    content = row.tobytes()
    return pb.RowRecord(binary_data=content) if binary else pb.RowRecord(float_data=np.frombuffer(content, "<f4"))


def _statistics(file: File) -> dict[str, Any]:
    name = STATISTICS_NAMES[Engine(file.engine_type)]
    return {"data_size": file.file_size, "index_name": name, "name": file.segment_id, "row_count": file.row_count}
