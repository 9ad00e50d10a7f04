"""Reading a request: the JSON object in its body and the parameters in its query, with errors that name the field.

A field that is ``null`` counts as missing. Which fields a request needs is known to the resource that reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from mishards.rest.errors import BadHttpRequest, RestCode, illegal
from mishards.rest.loading import loads
from mishards.rest.rows import JsonRows
from mishards.wire.params import MAX_INT64, MIN_INT64

T = TypeVar("T")

_DEFAULT_PAGE_SIZE = 10
_TRUE, _FALSE = ("true", "1"), ("false", "0", "")


class Fields:
    """A JSON object in a request's body."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    @classmethod
    def parse(cls, body: bytearray) -> Fields:
        """Read a body.

        Raises:
            BadHttpRequest: it is no JSON, or no object.
        """
        if not body:
            raise BadHttpRequest(RestCode.BODY_PARSE_FAIL, "The request body is empty. Send a JSON object.")
        try:
            values = loads(body)
        except orjson.JSONDecodeError as error:
            raise BadHttpRequest(RestCode.BODY_PARSE_FAIL, f"The request body is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise illegal("The request body must be a JSON object.")
        return cls(values)

    def present(self, *names: str) -> list[str]:
        """Which of the fields are there."""
        return [name for name in names if self._values.get(name) is not None]

    def items(self) -> Iterable[tuple[str, Any]]:
        """Every field and its value."""
        return self._values.items()

    def text(self, name: str, default: str | None = None) -> str:
        """Read text; without ``default`` the field must be there."""
        value = self._value(name, default)
        if not isinstance(value, str):
            raise illegal(f"Field '{name}' must be a string.")
        return value

    def integer(self, name: str, default: int | None = None) -> int:
        """Read a whole number that an int64 holds."""
        value = self._value(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not MIN_INT64 <= value <= MAX_INT64:
            raise illegal(f"Field '{name}' must be an integer.")
        return value

    def texts(self, name: str, default: Sequence[str] | None = None) -> list[str]:
        """Read a list of texts."""
        values = self.array(name, default)
        if not all(isinstance(value, str) for value in values):
            raise illegal(f"Field '{name}' must be an array of strings.")
        return values

    def array(self, name: str, default: Sequence[Any] | None = None) -> list[Any]:
        """Read an array of whatever."""
        value = self._value(name, default)
        if not isinstance(value, (list, tuple)):
            raise illegal(f"Field '{name}' must be an array.")
        return list(value)

    def rows(self, name: str) -> JsonRows:
        """Read vectors, and let go of them, so that many live no longer than their reader needs them."""
        value = self._value(name, None)
        del self._values[name]
        return value if isinstance(value, JsonRows) else JsonRows.of(value)

    def inner(self, name: str) -> Fields:
        """Read an object inside this one."""
        value = self._value(name, None)
        if not isinstance(value, dict):
            raise illegal(f"Field '{name}' must be an object.")
        return Fields(value)

    def params(self, name: str = "params", default: str | None = None) -> str:
        """Read an object as the JSON text that calls carry in ``extra_params``."""
        if default is not None and not self.present(name):
            return default
        return orjson.dumps(dict(self.inner(name).items())).decode()

    def _value(self, name: str, default: object) -> Any:
        value = self._values.get(name)
        value = default if value is None else value
        if value is None:
            raise BadHttpRequest(RestCode.BODY_FIELD_LOSS, f"Field '{name}' is required.")
        return value


@dataclass(frozen=True, slots=True)
class Page:
    """The part of a list that a request asks for."""

    offset: int
    size: int | None
    """None is all that is behind ``offset``."""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Page:
        """Read ``offset``, ``page_size`` and ``all_required``; the last one overrides the others.

        Raises:
            BadHttpRequest: a number that is none, or negative.
        """
        offset, size = _natural(query, "offset", 0), _natural(query, "page_size", _DEFAULT_PAGE_SIZE)
        return cls(0, None) if _flag(query, "all_required") else cls(offset, size)

    def of_list(self, values: Sequence[T]) -> Sequence[T]:
        """Return this part of ``values``."""
        return values[self.offset :] if self.size is None else values[self.offset : self.offset + self.size]


def required(query: Mapping[str, str], name: str) -> str:
    """Return a parameter of the query.

    Raises:
        BadHttpRequest: it is not there.
    """
    if not query.get(name):
        raise BadHttpRequest(RestCode.QUERY_PARAM_LOSS, f"Query parameter '{name}' is required.")
    return query[name]


def illegal_query(name: str, value: str, expected: str) -> BadHttpRequest:
    """The error of a query parameter with a value that it cannot have."""
    message = f"Query parameter '{name}' must be {expected}, but is '{value}'."
    return BadHttpRequest(RestCode.ILLEGAL_QUERY_PARAM, message)


def _natural(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise illegal_query(name, text, "an integer that is not negative")
    return int(text)


def _flag(query: Mapping[str, str], name: str) -> bool:
    text = query.get(name, "").lower()
    if text not in _TRUE + _FALSE:
        raise illegal_query(name, text, "true or false")
    return text in _TRUE
