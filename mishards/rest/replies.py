"""The bodies of answers that succeed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

OK_BODY: Mapping[str, Any] = {"message": "OK", "code": 0}
"""What is said where there is nothing to say."""

_JSON = "application/json"


def ok(content: object = OK_BODY, status: int = HTTPStatus.OK) -> Response:
    """Answer an object; numpy arrays in it become arrays of numbers."""
    return json_text(orjson.dumps(content, _plain, _OPTIONS), status)


_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS


def _plain(content: object) -> object:
    """A dataclass by its fields. The library would look for them where those of a compiled one are not, and crash."""
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        return {field.name: getattr(content, field.name) for field in dataclasses.fields(content)}
    raise TypeError(f"{type(content).__name__} has no form in JSON")


def json_text(text: str | bytes, status: int = HTTPStatus.OK) -> Response:
    """Answer what is JSON already."""
    return Response(text, status, media_type=_JSON)


def created(content: object = OK_BODY) -> Response:
    """Answer that something has been made."""
    return ok(content, HTTPStatus.CREATED)


def nothing() -> Response:
    """Answer that something is gone."""
    return Response(status_code=HTTPStatus.NO_CONTENT)
