"""JSON with many vectors, read in pieces.

A parser of JSON makes an object of every number, eight times what the vectors weigh, and holds the interpreter from the
first byte to the last. So the array of a large body is cut between its rows; each piece becomes an array of floats
before the next one is read, and other threads have their turn in between. The outcome is that of reading the body as a
whole, and a body that is unusual in any way is read as a whole.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from mishards.rest.errors import BadHttpRequest
from mishards.rest.rows import JsonRows

_LARGE = 1 << 20  # bytes
_PIECE = 1 << 19  # bytes: parsed within a few milliseconds
_KEY = re.compile(rb'(?<!\\)"vectors"[ \t\r\n]*:[ \t\r\n]*(?=\[)')
_NUMBERS = re.compile(rb"[][0-9eE+\-., \t\r\n]*")
_BLANKS = b" \t\r\n"
_PLACEHOLDER = "vectors"


class _Unusual(ValueError):
    """The body is not written the way that clients write it."""


def loads(body: bytearray) -> Any:
    """Parse a body. In a large one the value of ``vectors``, at the top or in ``search``, may be ``JsonRows``.

    Raises:
        orjson.JSONDecodeError: it is not JSON.
    """
    if len(body) >= _LARGE:
        try:
            return _in_pieces(body)
        except (_Unusual, orjson.JSONDecodeError, BadHttpRequest):
            pass  # read as a whole it is right after all, or named for what it is
    return orjson.loads(body)


def _in_pieces(body: bytearray) -> Any:
    found = _KEY.search(body)
    if found is None:
        raise _Unusual
    begin = found.end()
    end = _end_of_array(body, begin)
    rest = body[:begin] + b'"' + _PLACEHOLDER.encode() + b'"' + body[end:]
    parsed = orjson.loads(rest)
    holder = parsed.get("search", parsed) if isinstance(parsed, dict) else None
    if not isinstance(holder, dict) or holder.get("vectors") != _PLACEHOLDER or rest.count(b"vectors") != 2:
        raise _Unusual
    holder["vectors"] = _rows(body, begin, end)
    return parsed


def _end_of_array(body: bytearray, begin: int) -> int:
    """Return the offset behind the array that begins there, if there are only numbers and arrays in it."""
    at = begin
    while (stop := _NUMBERS.match(body, at, at + _PIECE).end()) > at:  # type: ignore[union-attr]  # matches nothing too
        at = stop
    return body.rfind(b"]", begin, at) + 1


def _rows(body: bytearray, begin: int, end: int) -> JsonRows:
    parts: list[JsonRows] = []
    at, last = begin + 1, end - 1
    while (stop := body.find(b"]", min(at + _PIECE, last), last) + 1 or body.rfind(b"]", at, last) + 1) > 0:
        piece = body[at:stop].lstrip(_BLANKS)
        if parts:
            if not piece.startswith(b","):
                raise _Unusual
            piece = piece[1:]
        parts.append(JsonRows.of(orjson.loads(b"[" + piece + b"]")))
        at = stop
    if body[at:last].strip(_BLANKS):
        raise _Unusual
    return JsonRows.joined(parts)
