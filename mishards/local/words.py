"""The collection ``words``: loads the sample through a router, and asks for nearest words."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from mishards.errors import SampleFailed
from mishards.kinds import IndexType, MetricType
from mishards.local.client import Client
from mishards.local.progress import Advance
from mishards.local.sample import Sample
from mishards.wire.protos import milvus_pb2, status_pb2

COLLECTION = "words"

_SEGMENT_ROWS = 5_000
"""A flush makes a segment: the sample makes four, so that a search has something to split."""

_INDEX_FILE_MB = 1
"""Smaller than such a segment, so that none are merged."""

_BATCH_ROWS = 1_000
_NLIST, _NPROBE = 64, 16


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A word near another; the larger the score (an inner product, at most 1), the nearer."""

    word: str
    score: float


class Words:
    """The collection ``words`` behind a router. A word's id is its row in the sample."""

    def __init__(self, client: Client, sample: Sample) -> None:
        self._client = client
        self._sample = sample
        self._name = milvus_pb2.CollectionName(collection_name=COLLECTION)

    async def missing_rows(self) -> int:
        """Create the collection where it does not exist; return how many of its last rows are still to be inserted.

        Rows are inserted in order, so an interrupted load goes on where it was. Raises SampleFailed where a collection
        of that name is something else: it is the user's and stays as it is.
        """
        exists = await self._client.call("HasCollection", self._name, milvus_pb2.BoolReply)
        if not exists.bool_reply:
            await self._client.call("CreateCollection", self._schema(), status_pb2.Status)
            return len(self._sample.words)
        schema = await self._client.call("DescribeCollection", self._name, milvus_pb2.CollectionSchema)
        if (schema.dimension, schema.metric_type) != (self._sample.dimension, MetricType.IP):
            raise SampleFailed(f"a collection {COLLECTION} of another kind exists; drop it, or use another --dir")
        await self._flush()
        count = await self._client.call("CountCollection", self._name, milvus_pb2.CollectionRowCount)
        return max(0, len(self._sample.words) - count.collection_row_count)

    async def insert_last(self, rows: int, advance: Advance) -> None:
        """Insert the last ``rows`` rows of the sample, and make them durable in segments and visible to searches."""
        end = len(self._sample.words)
        for start in range(end - rows, end, _BATCH_ROWS):
            ids = range(start, min(start + _BATCH_ROWS, end))
            batch = milvus_pb2.InsertParam(
                collection_name=COLLECTION, row_record_array=[self._record(row) for row in ids], row_id_array=ids
            )
            await self._client.call("Insert", batch, milvus_pb2.VectorIds)
            if ids.stop % _SEGMENT_ROWS == 0 or ids.stop == end:
                await self._flush()
            advance(len(ids))

    async def _flush(self) -> None:
        await self._client.call("Flush", milvus_pb2.FlushParam(collection_name_array=[COLLECTION]), status_pb2.Status)

    async def build_index(self) -> None:
        """Build the IVF_FLAT index; does nothing where it is there."""
        index = milvus_pb2.IndexParam(
            collection_name=COLLECTION, index_type=IndexType.IVF_FLAT, extra_params=_params(nlist=_NLIST)
        )
        await self._client.call("CreateIndex", index, status_pb2.Status)

    async def nearest(self, words: tuple[str, ...], count: int) -> list[list[Neighbour]]:
        """The ``count`` nearest words of each word, nearest first, without the word itself; one search for all."""
        rows = [self._sample.id_of(word) for word in words]
        search = milvus_pb2.SearchParam(
            collection_name=COLLECTION,
            query_record_array=[self._record(row) for row in rows],
            topk=count + 1,  # the nearest of all is the word itself
            extra_params=_params(nprobe=_NPROBE),
        )
        reply = await self._client.call("Search", search, milvus_pb2.TopKQueryResult)
        if reply.row_num != len(words):
            raise SampleFailed(f"a search for {len(words)} words was answered with {reply.row_num} rows")
        ids = np.array(reply.ids).reshape(len(words), -1).tolist()
        scores = np.array(reply.distances).reshape(len(words), -1).tolist()
        return [
            [
                Neighbour(self._sample.words[hit], score)
                for hit, score in zip(ids[query], scores[query], strict=True)
                if hit not in (row, -1)
            ][:count]
            for query, row in enumerate(rows)
        ]

    def _schema(self) -> milvus_pb2.CollectionSchema:
        return milvus_pb2.CollectionSchema(
            collection_name=COLLECTION,
            dimension=self._sample.dimension,
            index_file_size=_INDEX_FILE_MB,
            metric_type=MetricType.IP,
        )

    def _record(self, row: int) -> milvus_pb2.RowRecord:
        return milvus_pb2.RowRecord(float_data=self._sample.vectors[row].tolist())


def _params(**values: int) -> list[milvus_pb2.KeyValuePair]:
    return [milvus_pb2.KeyValuePair(key="params", value=json.dumps(values))]
