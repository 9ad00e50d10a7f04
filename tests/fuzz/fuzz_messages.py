"""What eats a client's bytes, one function a parser: RPC messages, parameters, names, tokens, JSON over HTTP."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any
from urllib.parse import unquote

import numpy as np

from mishards.cluster.leader import Claim
from mishards.cluster.node import _capabilities
from mishards.deadline import Deadline
from mishards.discovery.record import decode as decode_record
from mishards.discovery.record import encode as encode_record
from mishards.errors import Overloaded
from mishards.kinds import IndexType, MetricType
from mishards.rest.application import api_routes, application
from mishards.rest.fields import Fields
from mishards.security.guard import Guard
from mishards.security.options import SecurityOptions
from mishards.security.tokens import parse_tokens
from mishards.topk import TopK
from mishards.transport.api import Call
from mishards.wire.describe import ANSWERS
from mishards.wire.growing import Cut, split_cut, with_cut
from mishards.wire.merge import merge_results
from mishards.wire.names import check_collection_name, check_new_tag, match_tags
from mishards.wire.params import build_params, parse_params, search_params
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.replies import METHODS, error_reply, ok_status
from mishards.wire.results import decode_result, encode_result
from mishards.wire.search import SearchEnvelope, SearchInFilesEnvelope, search_in_files
from mishards.wire.vectors import InsertEnvelope, vector_rows

DIM = 4
EXISTING = ("a", "b1", "part-7", "très_long")
SECRET = "a-secret-of-an-app"  # noqa: S105 - of a test
CUT = b"\n--cut--\n"


def _text(data: bytes) -> str:
    """As protobuf gives it: it lets no other bytes through."""
    return data.decode("utf-8", "ignore")


def search(data: bytes) -> None:
    envelope = SearchEnvelope.scan(data)
    assert envelope.nq >= 0
    search_params(IndexType.IVF_FLAT, MetricType.L2, envelope.topk, envelope.params)
    rows = vector_rows(envelope.rows, DIM, MetricType.L2)
    assert rows.shape == (len(envelope.rows), DIM)
    again = SearchInFilesEnvelope.scan(search_in_files([7], data))
    assert (again.file_ids, again.search.raw) == (("7",), data)


def search_files(data: bytes) -> None:
    envelope = SearchInFilesEnvelope.scan(data)
    vector_rows(envelope.search.rows, DIM, MetricType.L2)


def insert(data: bytes) -> None:
    envelope = InsertEnvelope.scan(data)
    rows = vector_rows(envelope.rows, DIM, MetricType.IP)
    expected = pb.InsertParam.FromString(data)
    assert list(envelope.ids) == list(expected.row_id_array)
    assert rows.shape == (len(expected.row_record_array), DIM)


def parameters(data: bytes) -> None:
    text, pick = _text(data[1:]), data[:1] or b"\0"
    index_type = list(IndexType)[pick[0] % len(IndexType)]
    parse_params(text)
    pair: Any = SimpleNamespace(key="params", value=text)
    try:
        build_params(index_type, MetricType.L2, 16, [pair])
    finally:
        search_params(index_type, MetricType.L2, 10, text)


def results(data: bytes) -> None:
    replies = data.split(CUT)
    merged = merge_results(replies, 5, larger_is_nearer=bool(len(data) % 2))
    decode_result(merged)


def growing_rows(data: bytes) -> None:
    cut, reply = split_cut(data)
    assert len(reply) <= len(data)
    assert cut.deleted.dtype == np.int64


def names(data: bytes) -> None:
    lines = _text(data).split("\n")
    try:
        check_collection_name(lines[0])
        check_new_tag(lines[0])
    finally:
        assert set(match_tags(lines, EXISTING)) <= {"_default", *EXISTING}


def tokens(data: bytes) -> None:
    parse_tokens(_text(data), "tokens")


def guarded_call(data: bytes) -> None:
    """The first line is the header, the rest the command."""
    header, _, request = data.partition(b"\n")
    call = Call("Cmd", request, [("authorization", _text(header))], Deadline.never(), "ipv4:1.2.3.4:5")
    with _GUARD.admitted(call):
        assert SECRET in _text(header)


def node_record(data: bytes) -> None:
    record = decode_record(data, "entry")
    assert decode_record(encode_record(record), "again") == record or math.isnan(record.weight)


def node_answers(data: bytes) -> None:
    text = _text(data)
    Claim.parse(text)
    assert isinstance(_capabilities(text), frozenset)


def http_body(data: bytes) -> None:
    fields = Fields.parse(bytearray(data))
    rows: Callable[[], object] = lambda: fields.rows("vectors")  # noqa: E731 - one of many in a table
    for read in (
        lambda: fields.text("collection_name"),
        lambda: fields.integer("dimension"),
        lambda: fields.texts("ids"),
        lambda: fields.inner("search").params(),
        rows,
    ):
        read()


_ENDS = ("http.response.start", "http.response.body")


def http_api(data: bytes) -> int:
    """The first line is ``METHOD /path?query``, the rest the body; there is always an answer, and none is a bug's."""
    line, _, body = data.partition(b"\n")
    method, _, target = re.sub(r"[^!-~ ]", "", line.decode("latin-1")).partition(" ")  # h11 lets nothing else through
    path, _, query = target.replace(" ", "").partition("?")
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method.upper() or "GET",
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": [(b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "scheme": "http",
        "root_path": "",
    }
    status, answer = _loop().run_until_complete(_asked(scope, body))
    assert status != 500, answer
    return status


async def _asked(scope: dict[str, Any], body: bytes) -> tuple[int, bytes]:
    sent: list[dict[str, Any]] = []
    received = [{"type": "http.request", "body": body, "more_body": False}]
    forever: asyncio.Event = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if received:
            return received.pop()
        await forever.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await _APP(scope, receive, send)  # type: ignore[arg-type]  # the mappings are what they should be
    return int(sent[0]["status"]), b"".join(message.get("body", b"") for message in sent[1:])


async def _handler(call: Call) -> bytes:
    kind = METHODS[call.method]
    kind.request.FromString(call.request)
    if call.method == "Search":
        return encode_result(TopK(np.zeros((1, 1), np.int64), np.zeros((1, 1), np.float32)))
    reply = kind.reply()
    return ok_status().SerializeToString() if kind.replies_status else reply.SerializeToString()


_GUARD = Guard(SecurityOptions(tokens=f"app read {SECRET}"))
_APP = application(api_routes(_handler, 1 << 20))
_loops: list[asyncio.AbstractEventLoop] = []


def _loop() -> asyncio.AbstractEventLoop:
    """One for all inputs: making one takes longer than most of them."""
    if not _loops:
        _loops.append(asyncio.new_event_loop())
    return _loops[0]


def _vectors(count: int) -> list[pb.RowRecord]:
    return [pb.RowRecord(float_data=[0.5] * DIM) for _ in range(count)]


def _search_seed() -> pb.SearchParam:
    pair = pb.KeyValuePair(key="params", value='{"nprobe": 16}')
    return pb.SearchParam(
        collection_name="c", partition_tag_array=["a"], query_record_array=_vectors(2), topk=3, extra_params=[pair]
    )


def _result_seed() -> bytes:
    ids, distances = np.array([[4, 9]], np.int64), np.array([[0.25, 1.5]], np.float32)
    return encode_result(TopK(ids, distances))


SEEDS: Mapping[str, tuple[bytes, ...]] = MappingProxyType(
    {
        "search": (_search_seed().SerializeToString(),),
        "search_files": (search_in_files([1, 22], _search_seed().SerializeToString()),),
        "insert": (
            pb.InsertParam(
                collection_name="c", row_record_array=_vectors(2), row_id_array=[1, -2], partition_tag="a"
            ).SerializeToString(),
        ),
        "parameters": (b'\x02{"nlist": 64, "nprobe": 16}', b'\x07{"M": 16, "efConstruction": 100, "ef": 50}'),
        "results": (_result_seed(), _result_seed() + CUT + _result_seed(), error_reply("Search", Overloaded("x"))),
        "growing_rows": (with_cut(Cut(1, 2, 3, np.array([4, 5], np.int64)), _result_seed()),),
        "names": (b"words\npart.*\n(a|b)[0-9]+", "très_long\n _default ".encode()),
        "tokens": (f"# who\napp read {SECRET}\nb admin sha256:{'ab' * 32}\n".encode(),),
        "guarded_call": (f"Bearer {SECRET}\n".encode() + pb.Command(cmd="version").SerializeToString(),),
        "node_record": (b'{"name": "n", "role": "readonly", "address": "h:1", "weight": 2, "capabilities": ["a"]}',),
        "node_answers": (b'{"leading": true, "epoch": 3, "leader": "n"}', b'{"capabilities": ["a", "b"]}'),
        "http_body": (
            b'{"collection_name": "c", "dimension": 4, "ids": ["1"], "search": {"params": {}}, "vectors": [[1,2]]}',
        ),
        "http_api": (
            b'POST /collections\n{"collection_name": "c", "dimension": 4, "index_file_size": 10, "metric_type": "L2"}',
            b'PUT /collections/c/vectors\n{"search": {"topk": 2, "vectors": [[1,2,3,4]], "params": {"nprobe": 1}}}',
            b'POST /collections/c/vectors\n{"ids": ["1"], "vectors": [[0.5, 1]], "partition_tag": "a"}',
            b"GET /collections?offset=0&page_size=10\n",
            b'PUT /system/task\n{"flush": {"collection_names": ["c"]}}',
            b"GET /collections/c/vectors?ids=1,2\n",
        ),
    }
)

assert ANSWERS.keys() <= METHODS.keys()
