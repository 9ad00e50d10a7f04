"""A load generator: clients that search a collection as fast as they are answered, for a while.

Queries are rows of the collection itself, slightly moved, so that they are as the data are. Recall is measured apart,
on queries of its own, against all rows fetched from the server.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mishards.bulk.interrupt import stop_signal
from mishards.bulk.listing import fetch, list_ids, read_ids
from mishards.bulk.parts import existing
from mishards.bulk.remote import Remote, Schema, connected
from mishards.bulk.sources.api import Vectors
from mishards.bulk.truth import Truth
from mishards.errors import BulkError, MishardsError
from mishards.topk import NO_ID
from mishards.wire.limits import MAX_IDS_PER_GET
from mishards.wire.protos import milvus_pb2
from mishards.wire.results import decode_result
from mishards.wire.vectors import encode_rows

_QUERIES_TAG = b"\x1a"  # field 3 of SearchParam
_REQUESTS = 64
"""Different requests, sent in turn."""
_MOVED_BY = 0.01
"""Of a value's standard deviation over the sample."""
_SAMPLED_PARTS = 4
_CHUNK_ROWS = 50_000
_ERROR_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What a user decides about a benchmark."""

    collection: str
    address: str
    nq: int = 1
    k: int = 10
    params: str = "{}"
    clients: int = 4
    duration_s: float = 10.0
    recall: int = 0
    """Queries to measure recall with; 0 is not to."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """What was seen. Times are in milliseconds, of calls that succeeded; None where there was none."""

    collection: str
    seconds: float
    calls: int
    """That succeeded."""
    errors: int
    error_texts: dict[str, int]
    """The most frequent ones."""
    calls_per_s: float
    queries_per_s: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    recall: float | None


async def run_bench(options: BenchOptions) -> Measured:
    """Measure until the time is over or Ctrl-C.

    Raises:
        BulkError: the collection cannot be searched this way.
        NodeError: the server does not answer.
    """
    random = np.random.default_rng(options.seed)
    with stop_signal() as stop:
        async with connected(options.address) as remote:
            schema = await existing(remote, options.collection)
            if options.recall and schema.metric.is_binary:
                raise BulkError(f"recall is measured for L2 and IP only, {schema.name} has {schema.metric.name}")
            sample = await _sample(remote, schema, random)
            requests = [_request(options, _drawn(sample, options.nq, schema, random)) for _ in range(_REQUESTS)]
            await remote.raw("Search", requests[0])  # what it refuses, it refuses now; what it loads, it has loaded
            calls = _Calls()
            began = time.monotonic()
            clients = [
                _client(options.address, requests[number:] + requests[:number], calls)
                for number in (client % _REQUESTS for client in range(options.clients))
            ]
            await _for_a_while(clients, options.duration_s, stop, calls.ended)
            seconds = time.monotonic() - began
            recall = None
            if options.recall and len(sample):
                recall = await _recall(remote, schema, options, _drawn(sample, options.recall, schema, random))
    return calls.measured(options, seconds, recall)


class _Calls:
    """Times of calls, and errors by their text."""

    def __init__(self) -> None:
        self.times_s: list[float] = []
        self.errors: Counter[str] = Counter()
        self.ended = asyncio.Event()
        """Has one of them ended?"""

    def measured(self, options: BenchOptions, seconds: float, recall: float | None) -> Measured:
        count = len(self.times_s)
        quantiles = [float(q) for q in np.quantile(self.times_s, (0.5, 0.95, 0.99, 1)) * 1000] if count else [None] * 4
        rate = count / seconds
        return Measured(
            collection=options.collection,
            seconds=seconds,
            calls=count,
            errors=self.errors.total(),
            error_texts=dict(self.errors.most_common(5)),
            calls_per_s=rate,
            queries_per_s=rate * options.nq,
            p50_ms=quantiles[0],
            p95_ms=quantiles[1],
            p99_ms=quantiles[2],
            max_ms=quantiles[3],
            recall=recall,
        )


async def _for_a_while(
    clients: list[Coroutine[None, None, None]], duration_s: float, stop: asyncio.Event, ended: asyncio.Event
) -> None:
    """Run the clients until the time is over and a call has ``ended``, or ``stop`` is set; no other is waited for."""

    async def over() -> None:
        await asyncio.sleep(duration_s)
        await ended.wait()

    tasks = [asyncio.create_task(client, name="bench client") for client in clients]
    ends = [asyncio.create_task(over(), name="bench time"), asyncio.create_task(stop.wait(), name="wait for Ctrl-C")]
    try:
        done, _ = await asyncio.wait({*tasks, *ends}, return_when=asyncio.FIRST_COMPLETED)
        for task in done & set(tasks):
            task.result()  # clients do not end by themselves
    finally:
        for task in (*tasks, *ends):
            task.cancel()
        await asyncio.gather(*tasks, *ends, return_exceptions=True)


async def _client(address: str, requests: Sequence[bytes], calls: _Calls) -> None:
    async with connected(address) as remote:
        for request in itertools.cycle(requests):
            began = time.perf_counter()
            try:
                await remote.raw("Search", request)
            except MishardsError as error:
                calls.errors[str(error)] += 1
                calls.ended.set()
                await asyncio.sleep(_ERROR_PAUSE_S)
            else:
                calls.times_s.append(time.perf_counter() - began)
                calls.ended.set()


async def _sample(remote: Remote, schema: Schema, random: np.random.Generator) -> Vectors:
    """Some rows of the collection, from one segment of each partition."""
    found: list[Vectors] = []
    for part in await remote.parts(schema.name):
        if part.segments:
            ids = await remote.segment_ids(schema.name, str(random.choice(part.segments)))
            chosen = random.choice(ids, min(len(ids), MAX_IDS_PER_GET), replace=False)
            if len(chosen):
                found.append((await remote.vectors(schema, part.tag, chosen))[0])
        if len(found) >= _SAMPLED_PARTS:
            break
    if not found:
        raise BulkError(f"collection {schema.name} has no rows that could be searched for")
    sample: Vectors = np.concatenate(found)  # type: ignore[assignment]  # all of one type, which numpy does not see
    return sample


def _drawn(sample: Vectors, count: int, schema: Schema, random: np.random.Generator) -> Vectors:
    """Queries like the rows of the sample."""
    drawn: Vectors = sample[random.integers(len(sample), size=count)]
    if schema.metric.is_binary:
        return drawn
    moved = drawn.astype(np.float64) + random.normal(size=drawn.shape) * (sample.std(axis=0) * _MOVED_BY)
    floats: Vectors = moved.astype(np.float32)
    return floats


def _request(options: BenchOptions, queries: Vectors) -> bytes:
    head = milvus_pb2.SearchParam(
        collection_name=options.collection,
        topk=options.k,
        extra_params=[milvus_pb2.KeyValuePair(key="params", value=options.params)],
    )
    return head.SerializeToString() + encode_rows(_QUERIES_TAG, queries)


async def _recall(remote: Remote, schema: Schema, options: BenchOptions, queries: Vectors) -> float:
    reply = await remote.raw("Search", _request(options, queries))
    _, _, answer = decode_result(reply)
    found = [[row_id for row_id in row if row_id != NO_ID] for row in answer.ids.tolist()] or [[]] * len(queries)
    truth = Truth(queries.astype(np.float32), options.k, schema.metric)
    with tempfile.TemporaryDirectory(prefix="mishards-bench-") as folder:
        listing = Path(folder) / "ids"
        for part in await list_ids(remote, schema, listing):
            for at in range(0, part.rows, _CHUNK_ROWS):
                ids = read_ids(listing, part.first + at, min(_CHUNK_ROWS, part.rows - at))
                async for present, vectors in fetch(remote, schema, part.tag, ids):
                    truth.add(present, vectors.astype(np.float32))
    return truth.recall(found)
