"""The sample, the collection it is loaded into, and what is shown of it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message
from rich.console import Console

from mishards.deadline import Deadline
from mishards.errors import Code, SampleFailed
from mishards.kinds import IndexType, MetricType
from mishards.local import demo
from mishards.local.client import Client, get_json
from mishards.local.demo import SHOWN_WORDS, Share, show_sample, split
from mishards.local.progress import step
from mishards.local.sample import Sample, load_sample
from mishards.local.words import Words
from mishards.transport.api import Channel, Metadata
from mishards.wire.protos import milvus_pb2, status_pb2

OK = status_pb2.Status(error_code=status_pb2.SUCCESS, reason="OK")


class OneCollection:
    """A channel to a server that has room for one collection, searched exhaustively."""

    address = "127.0.0.1:19530"

    def __init__(self) -> None:
        self.schema: milvus_pb2.CollectionSchema | None = None
        self.index: milvus_pb2.IndexParam | None = None
        self.rows: dict[int, np.ndarray] = {}
        self.pending: dict[int, np.ndarray] = {}
        self.inserts: list[int] = []

    async def call(self, method: str, request: bytes, *, deadline: Deadline, metadata: Metadata = ()) -> bytes:
        answer: Callable[[bytes], Message] = getattr(self, f"_{method}")
        return answer(request).SerializeToString()

    async def close(self) -> None:
        pass

    def _HasCollection(self, _: bytes) -> Message:  # noqa: N802 - named for the RPC
        return milvus_pb2.BoolReply(status=OK, bool_reply=self.schema is not None)

    def _CreateCollection(self, request: bytes) -> Message:  # noqa: N802
        self.schema = milvus_pb2.CollectionSchema.FromString(request)
        return OK

    def _DescribeCollection(self, _: bytes) -> Message:  # noqa: N802
        assert self.schema is not None
        return self.schema

    def _CountCollection(self, _: bytes) -> Message:  # noqa: N802
        return milvus_pb2.CollectionRowCount(status=OK, collection_row_count=len(self.rows))

    def _Insert(self, request: bytes) -> Message:  # noqa: N802
        batch = milvus_pb2.InsertParam.FromString(request)
        self.inserts.append(len(batch.row_id_array))
        for number, record in zip(batch.row_id_array, batch.row_record_array, strict=True):
            self.pending[number] = np.array(record.float_data, np.float32)
        return milvus_pb2.VectorIds(status=OK, vector_id_array=batch.row_id_array)

    def _Flush(self, _: bytes) -> Message:  # noqa: N802
        self.rows |= self.pending
        return OK

    def _CreateIndex(self, request: bytes) -> Message:  # noqa: N802
        self.index = milvus_pb2.IndexParam.FromString(request)
        return OK

    def _Search(self, request: bytes) -> Message:  # noqa: N802
        search = milvus_pb2.SearchParam.FromString(request)
        ids = np.array(list(self.rows), np.int64)
        queries = np.array([record.float_data for record in search.query_record_array], np.float32)
        scores = queries @ np.stack(list(self.rows.values())).T
        best = np.argsort(-scores, axis=1, kind="stable")[:, : search.topk]
        return milvus_pb2.TopKQueryResult(
            status=OK,
            row_num=len(queries),
            ids=np.append(ids[best], np.full((len(queries), 1), -1), axis=1).ravel(),
            distances=np.append(np.take_along_axis(scores, best, 1), np.ones((len(queries), 1)), axis=1).ravel(),
        )


@pytest.fixture(scope="module")
def sample() -> Sample:
    return load_sample()


@pytest.fixture
def server() -> OneCollection:
    return OneCollection()


@pytest.fixture
def words(server: OneCollection, sample: Sample) -> Words:
    return Words(Client(server), sample)


async def load(words: Words) -> list[int]:
    advanced: list[int] = []
    await words.insert_last(await words.missing_rows(), advanced.append)
    await words.build_index()
    return advanced


def test_the_sample_has_twenty_thousand_different_words_with_vectors_of_length_one(sample: Sample) -> None:
    assert len(set(sample.words)) == len(sample.words) == len(sample.vectors) == 20_000
    assert sample.dimension == 100
    assert sample.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(sample.vectors, axis=1), 1, atol=1e-3)


@pytest.mark.parametrize(
    ("word", "near"),
    [("king", "queen"), ("france", "paris"), ("guitar", "bass"), ("monday", "tuesday"), ("physics", "chemistry")],
)
def test_each_word_of_the_sample_stands_beside_its_own_vector(sample: Sample, word: str, near: str) -> None:
    scores = sample.vectors @ sample.vectors[sample.id_of(word)]

    assert sample.id_of(near) in np.argsort(-scores)[:6]


def test_every_word_that_the_demo_shows_is_in_the_sample(sample: Sample) -> None:
    assert set(SHOWN_WORDS) <= set(sample.words)


async def test_a_load_inserts_every_row_under_its_own_number_and_builds_the_index(
    server: OneCollection, words: Words, sample: Sample
) -> None:
    advanced = await load(words)

    assert sum(advanced) == len(sample.words)
    assert advanced == server.inserts
    assert list(server.rows) == list(range(len(sample.words)))
    np.testing.assert_array_equal(np.stack(list(server.rows.values())), sample.vectors)
    assert server.schema is not None
    assert (server.schema.dimension, server.schema.metric_type) == (100, MetricType.IP)
    assert server.index is not None
    assert server.index.index_type == IndexType.IVF_FLAT
    assert json.loads(server.index.extra_params[0].value).keys() == {"nlist"}


async def test_a_load_that_was_interrupted_goes_on_where_it_was(
    server: OneCollection, words: Words, sample: Sample
) -> None:
    await load(words)
    for row in range(12_345, len(sample.words)):
        del server.rows[row]
    server.pending.clear()

    assert await words.missing_rows() == len(sample.words) - 12_345
    await load(words)
    assert list(server.rows) == list(range(len(sample.words)))


async def test_what_is_loaded_already_is_not_loaded_again(server: OneCollection, words: Words) -> None:
    await load(words)
    server.inserts.clear()

    assert await words.missing_rows() == 0
    assert server.inserts == []


async def test_a_collection_of_that_name_which_is_not_the_sample_is_left_alone(
    server: OneCollection, words: Words
) -> None:
    server.schema = milvus_pb2.CollectionSchema(status=OK, collection_name="words", dimension=8, metric_type=1)

    with pytest.raises(SampleFailed, match="collection words of another kind exists"):
        await words.missing_rows()


async def test_the_nearest_words_are_those_of_a_search_without_the_word_itself(words: Words, sample: Sample) -> None:
    await load(words)

    king, _ = await words.nearest(("king", "guitar"), 5)

    scores = sample.vectors @ sample.vectors[sample.id_of("king")]
    expected = np.argsort(-scores, kind="stable")[1:6]
    assert [near.word for near in king] == [sample.words[row] for row in expected]
    assert [near.score for near in king] == pytest.approx(scores[expected].tolist(), abs=1e-5)


async def test_an_answer_that_is_no_success_is_an_error_that_names_call_code_and_reason(
    server: OneCollection, words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = milvus_pb2.BoolReply(status=status_pb2.Status(error_code=Code.META_FAILED.value, reason="no database"))
    monkeypatch.setattr(server, "_HasCollection", lambda _: refusal)

    with pytest.raises(SampleFailed, match="HasCollection was answered with code 15: no database"):
        await words.missing_rows()


def test_a_segment_counts_for_the_first_of_its_nodes() -> None:
    plan = {
        "collection": "words",
        "segments": [
            {"segment_id": "11", "rows": 5, "file_id": 1, "nodes": ["readonly-2", "readonly-1"]},
            {"segment_id": "12", "rows": 6, "file_id": 2, "nodes": ["readonly-1"]},
            {"segment_id": "13", "rows": 7, "file_id": 3, "nodes": ["readonly-2"]},
        ],
    }

    assert split(plan) == [Share("readonly-1", ("12",), 6), Share("readonly-2", ("11", "13"), 12)]


@contextmanager
def http_server(pages: dict[str, Any]) -> Iterator[str]:
    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(pages.get(self.path)).encode()
            self.send_response(200 if self.path in pages else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="pages")
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


async def test_a_document_comes_over_http_and_its_absence_is_an_error() -> None:
    with http_server({"/explain/words": {"segments": []}}) as address:
        assert await get_json(address, "/explain/words") == {"segments": []}
        with pytest.raises(OSError, match="status 404"):
            await get_json(address, "/explain/things")
    with pytest.raises(OSError, match="refused"):
        await get_json(address, "/explain/words")


async def test_what_is_shown_are_the_nearest_words_the_split_and_how_to_connect(
    server: OneCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ToThatServer:
        def channel(self, address: str) -> Channel:
            return server

    monkeypatch.setattr(demo, "transport_of", ToThatServer)
    shown = Console(file=io.StringIO(), width=120)
    segment = {"segment_id": "11", "rows": 20_000, "file_id": 1, "nodes": ["readonly-1"]}
    with http_server({"/explain/words": {"segments": [segment]}}) as address:
        await show_sample("127.0.0.1:4711", address, shown)
        await show_sample("127.0.0.1:4711", address, shown)

    text = shown.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO from above
    assert "loading words 20,000: done in" in text
    assert text.count("already here: nothing to load") == 1
    assert text.count("prince 0.77") == 2
    assert "readonly-1" in text
    assert "20,000" in text
    assert 'Milvus("127.0.0.1", "4711")' in text


def test_a_step_is_one_line_where_there_is_no_terminal_and_a_full_bar_where_there_is() -> None:
    plain, terminal = (
        Console(file=io.StringIO(), width=100),
        Console(file=io.StringIO(), width=100, force_terminal=True),
    )
    for console in (plain, terminal):
        with step(console, "counting", 3) as advance:
            advance(3)

    line = plain.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO from above
    assert line.startswith("counting 3: done in ")
    assert line.count("\n") == 1
    assert "3/3" in terminal.file.getvalue()  # type: ignore[attr-defined]  # likewise
