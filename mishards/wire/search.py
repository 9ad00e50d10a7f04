"""Search requests, read without their vectors and passed on without a copy of them.

``SearchInFilesParam`` holds the client's ``SearchParam`` as one length-delimited field, so that a router sends its
own list of files followed by the bytes it got.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError

from mishards.errors import MalformedRequest
from mishards.wire.params import find_params
from mishards.wire.protos.milvus_pb2 import SearchInFilesParam, SearchParam
from mishards.wire.scan import varint_bytes
from mishards.wire.vectors import Rows, split_rows

_QUERY_ROWS: Final = 3
_SEARCH_PARAM: Final = 2
_SMALL: Final = 1 << 16  # bytes; below this protobuf parses the vectors faster than Python steps over them


@dataclass(slots=True, eq=False)  # not frozen: one is made for each search, and that takes three times as long
class SearchEnvelope:
    """A ``SearchParam`` whose query vectors stay encoded."""

    collection_name: str
    partition_tags: tuple[str, ...]
    """As the client sent them, blanks included; empty means every partition."""
    topk: int
    params: str
    """The JSON text in ``extra_params``, ``{}`` where there is none."""
    nq: int
    """How many query vectors there are; whether they fit the collection is not checked."""
    buffer: bytes = field(repr=False)
    begin: int = 0
    end: int = 0
    """The message is ``buffer[begin:end]``."""

    @property
    def raw(self) -> bytes:
        """The encoded message; no copy where it is all of ``buffer``."""
        buffer, begin, end = self.buffer, self.begin, self.end
        return buffer if begin == 0 and end == len(buffer) else buffer[begin:end]

    @property
    def rows(self) -> Rows:
        """The query vectors, for ``vectors.float_rows`` and its like."""
        return split_rows(self.buffer, self.begin, self.end, _QUERY_ROWS)[0]

    @classmethod
    def scan(cls, raw: bytes) -> SearchEnvelope:
        """Read everything but the query vectors.

        Raises:
            MalformedRequest: the bytes are no ``SearchParam``. Broken query vectors of a large request go unnoticed
                until their ``rows`` are read.
        """
        return _scan_search(raw, 0, len(raw))


@dataclass(frozen=True, slots=True, eq=False)
class SearchInFilesEnvelope:
    """A ``SearchInFilesParam`` whose query vectors stay encoded. File ids are text, as they came."""

    file_ids: tuple[str, ...]
    search: SearchEnvelope

    @classmethod
    def scan(cls, raw: bytes) -> SearchInFilesEnvelope:
        """Read everything but the query vectors.

        Raises:
            MalformedRequest: the bytes are no ``SearchInFilesParam``.
        """
        search, rest = split_rows(raw, 0, len(raw), _SEARCH_PARAM)
        try:
            if len(search) == 1:
                run = search.runs[0]
                return cls(_file_ids(rest), _scan_search(raw, run.start, run.end))
            merged = SearchInFilesParam.FromString(raw).search_param.SerializeToString()
            return cls(_file_ids(rest), _scan_search(merged, 0, len(merged)))
        except DecodeError as error:
            raise MalformedRequest(f"request of {len(raw)} bytes is no SearchInFilesParam: {error}") from error


def search_in_files(file_ids: Sequence[int | str], raw: bytes) -> bytes:
    """Encode a ``SearchInFilesParam`` around an encoded ``SearchParam``. Raises as ``file_ids_field``."""
    return in_files(file_ids_field(file_ids), raw)


def file_ids_field(file_ids: Sequence[int | str]) -> bytes:
    """Encode the file ids of a ``SearchInFilesParam``.

    They must not be empty: a Milvus 1.x node would search the whole collection.
    """
    if not file_ids:
        raise ValueError("a search in no files would search them all")
    parts: list[bytes] = []
    for file_id in file_ids:
        text = str(file_id).encode()
        parts += (b"\x0a", varint_bytes(len(text)), text)
    return b"".join(parts)


def in_files(file_ids: bytes, raw: bytes) -> bytes:
    """The ``SearchInFilesParam`` of encoded file ids and an encoded ``SearchParam``."""
    return b"".join((file_ids, b"\x12", varint_bytes(len(raw)), raw))


def _file_ids(message: bytes) -> tuple[str, ...]:
    return tuple(SearchInFilesParam.FromString(message).file_id_array)


def _scan_search(buffer: bytes, begin: int, end: int) -> SearchEnvelope:
    try:
        if end - begin < _SMALL:
            message = SearchParam.FromString(buffer[begin:end])
            nq = len(message.query_record_array)
        else:
            rows, rest = split_rows(buffer, begin, end, _QUERY_ROWS)
            message = SearchParam.FromString(rest)
            nq = len(rows)
    except DecodeError as error:
        raise MalformedRequest(f"request of {end - begin} bytes is no SearchParam: {error}") from error
    return SearchEnvelope(
        message.collection_name,
        tuple(message.partition_tag_array),
        message.topk,
        find_params(message.extra_params),
        nq,
        buffer,
        begin,
        end,
    )
