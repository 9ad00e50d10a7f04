"""What gRPC says in header fields: request heads, reply heads, trailers, time-outs, percent-encoded texts.

Pure. By the description "gRPC over HTTP2" of the gRPC project (doc/PROTOCOL-HTTP2.md); malformed is what RFC 9113,
section 8 calls so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from mishards.errors import RpcStatus
from mishards.transport.api import SERVICE, Metadata
from mishards.transport.h2.headers import Fields, OfLast, field, field_of_static, is_well_formed

ACCEPT_ENCODING: Final = field(b"grpc-accept-encoding", b"identity,deflate,gzip")

_PREFIX: Final = f"/{SERVICE}/".encode("ascii")
_MAX_MESSAGE_BYTES: Final = 4096
"""Of a status message as sent: peers refuse long header lists."""

_TIMEOUT: Final = re.compile(rb"(\d{1,8})([HMSmun])")
_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_FORBIDDEN: Final = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_OWN: Final = frozenset((b"te", b"content-type", b"content-length", b"host", b"grpc-timeout", b"grpc-encoding",
                  b"grpc-accept-encoding", b"grpc-status", b"grpc-message"))  # fmt: skip
"""Fields of the protocol, which are no metadata."""

_PLAIN: Final = frozenset(range(0x20, 0x7F)) - {0x25}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets whose head alone decides it: an HTTP status, and a gRPC status where that is 200."""

    http: int = 200
    status: RpcStatus = RpcStatus.OK
    message: str = ""


@dataclass(slots=True)  # not frozen: one is made for each call, and that takes three times as long
class RequestHead:
    """The header fields of a request."""

    method: str = ""
    metadata: Metadata = ()
    timeout_s: float | None = None
    encoding: bytes = b"identity"
    length: int = -1
    """``content-length``, -1 when not given."""
    answer: Answer | None = None
    malformed: bool = False


_BAD: Final = RequestHead(malformed=True)


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """The header fields of a reply or its trailers. ``status`` is -1 where there is no ``grpc-status``."""

    http: int = 0
    grpc: bool = False
    """Is the content type gRPC's?"""
    encoding: bytes = b"identity"
    status: int = -1
    message: str = ""
    malformed: bool = False


def parsed_request(fields: Fields) -> RequestHead:
    """The head of a request; of its trailers too, which have no pseudo-fields and are malformed as a head.

    Calls differ in the values of their metadata, their ids above all. The rest is looked at once.
    """
    own = tuple([entry if entry[0] in _OWN or entry[0].startswith(b":") else (entry[0], None) for entry in fields])
    head = _head_of(own)
    if head.malformed or not head.metadata:
        return head if all(value is not None or _is_value(fields[at][1]) for at, (_, value) in enumerate(own)) else _BAD
    values = [entry for entry, (_, value) in zip(fields, own, strict=True) if value is None]
    if not all(_is_value(value) for _, value in values):
        return _BAD
    metadata = tuple(
        [(name.decode("latin-1"), value.decode("latin-1")) for name, value in values if not name.endswith(b"-bin")]
    )
    return RequestHead(head.method, metadata, head.timeout_s, head.encoding, head.length, head.answer)


def request_by_last(head: RequestHead, name: bytes) -> OfLast[RequestHead] | None:
    """What ``parsed_request`` says of fields that differ from those of ``head`` in the value of the last one only.

    That is where a call's id stands. None where that field, called ``name``, is not one of the metadata.
    """
    metadata = head.metadata
    if head.malformed or not metadata or metadata[-1][0] != name.decode("latin-1"):
        return None
    key, before = metadata[-1][0], tuple(metadata[:-1])

    def of_last(value: bytes) -> RequestHead | None:
        if not _is_value(value):
            return None
        last = key, value.decode("latin-1")
        return RequestHead(head.method, (*before, last), head.timeout_s, head.encoding, head.length, head.answer)

    return of_last


def _is_value(value: bytes) -> bool:
    return b"\n" not in value and b"\r" not in value and b"\0" not in value


@lru_cache(maxsize=256)
def _head_of(own: tuple[tuple[bytes, bytes | None], ...]) -> RequestHead:
    """The head of a request whose metadata have no values."""
    return head_of([(name, value or b"") for name, value in own])


def head_of(fields: Fields) -> RequestHead:
    """What ``parsed_request`` says, by looking at all fields."""
    known = dict(fields)
    if not is_well_formed(fields) or not _is_request(known, fields):
        return _BAD
    length = known.get(b"content-length", b"")
    if length and not length.isdigit():
        return _BAD
    timeout_s, answer = None, _refusal(known)
    if b"grpc-timeout" in known:
        timeout_s = timeout_of(known[b"grpc-timeout"])
        if timeout_s is None:
            answer = answer or Answer(status=RpcStatus.INTERNAL, message="malformed grpc-timeout")
    return RequestHead(
        method=known[b":path"][len(_PREFIX) :].decode("latin-1"),
        metadata=_metadata(fields),
        timeout_s=timeout_s,
        encoding=known.get(b"grpc-encoding", b"identity"),
        length=int(length) if length else -1,
        answer=answer,
    )


def _is_request(known: dict[bytes, bytes], fields: Fields) -> bool:
    pseudo = [name for name, _ in fields if name.startswith(b":")]
    return (
        {b":method", b":scheme", b":path"} <= set(pseudo) <= {b":method", b":scheme", b":path", b":authority"}
        and len(pseudo) == len(set(pseudo))
        and _FORBIDDEN.isdisjoint(known)
        and known.get(b"te", b"trailers") == b"trailers"
    )


def _refusal(known: dict[bytes, bytes]) -> Answer | None:
    if known[b":method"] != b"POST":
        return Answer(http=405)
    if not _is_grpc(known):
        return Answer(http=415)
    path = known[b":path"]
    if not path.startswith(_PREFIX):
        text = path.decode("latin-1")
        return Answer(status=RpcStatus.UNIMPLEMENTED, message=f"{text} is not served; {SERVICE} is")
    return None


def _is_grpc(known: dict[bytes, bytes]) -> bool:
    kind = known.get(b"content-type", b"")
    return kind.startswith(b"application/grpc") and kind[16:17] in (b"", b"+", b";")


def _metadata(fields: Fields) -> Metadata:
    return tuple(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in fields
        if not name.startswith(b":") and name not in _OWN and not name.endswith(b"-bin")
    )


def parsed_reply(fields: Fields) -> ReplyHead:
    """The head or the trailers of a reply."""
    known = dict(fields)
    http, status = known.get(b":status", b"0"), known.get(b"grpc-status", b"-1")
    if not is_well_formed(fields) or not http.isdigit() or not re.fullmatch(rb"-1|\d{1,9}", status):
        return ReplyHead(malformed=True)
    return ReplyHead(
        http=int(http),
        grpc=_is_grpc(known),
        encoding=known.get(b"grpc-encoding", b"identity"),
        status=int(status),
        message=unquote_to_bytes(known.get(b"grpc-message", b"")).decode("utf-8", "replace"),
    )


def timeout_of(value: bytes) -> float | None:
    """Seconds of a ``grpc-timeout``; None when malformed."""
    found = _TIMEOUT.fullmatch(value)
    return int(found[1]) * _UNITS[found[2]] if found else None


def timeout_field(seconds: float) -> bytes:
    """``grpc-timeout``, rounded up by less than 1 %, so that calls of like deadlines share one header block."""
    micros = int(seconds * 1e6) + 1
    surplus = micros.bit_length() - 8
    if surplus > 0:
        micros = ((micros >> surplus) + 1) << surplus
    return _timeout_field(micros)


@lru_cache(maxsize=1024)
def _timeout_field(micros: int) -> bytes:
    for unit, size in ((b"u", 1), (b"m", 1_000), (b"S", 1_000_000)):
        number = -(-micros // size)
        if number < 10**8:
            return field(b"grpc-timeout", b"%d%s" % (number, unit))
    return b""


def status_fields(status: int, message: str) -> bytes:
    """``grpc-status`` and, where there is something to say, ``grpc-message``."""
    fields = field(b"grpc-status", str(int(status)).encode("ascii"))
    return fields + field(b"grpc-message", percent_encoded(message)) if message else fields


def percent_encoded(text: str) -> bytes:
    """A text in the form of ``grpc-message``, cut where it is very long."""
    raw = text.encode("utf-8", "replace")[:_MAX_MESSAGE_BYTES]
    if all(byte in _PLAIN for byte in raw):
        return raw
    pieces = (bytes((byte,)) if byte in _PLAIN else b"%%%02X" % byte for byte in raw)
    return b"".join(pieces)


# Of the static table: 1 :authority, 3 :method POST, 4 :path, 6 and 7 :scheme http and https, 8 :status,
# 31 content-type.
REPLY_HEAD: Final = b"\x88" + field_of_static(31, b"application/grpc") + ACCEPT_ENCODING
"""Of every reply that has a message."""


REPLY_ERROR: Final = b"\x88" + field_of_static(31, b"application/grpc")
"""What the one header block of a reply without a message begins with."""


def http_status_fields(status: int) -> bytes:
    """``:status`` of a reply that is not gRPC's."""
    return field_of_static(8, str(status).encode("ascii"))


def request_fields(method: str, authority: str, *, tls: bool) -> bytes:
    """What all calls of a method on one channel begin with."""
    return (
        (b"\x83\x87" if tls else b"\x83\x86")
        + field_of_static(4, _PREFIX + method.encode("latin-1"))
        + field_of_static(1, authority.encode("latin-1"))
        + field(b"te", b"trailers")
        + field_of_static(31, b"application/grpc")
        + ACCEPT_ENCODING
    )
