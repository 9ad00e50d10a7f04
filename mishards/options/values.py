"""Raw values of settings to typed ones, and back to text.

Pure; an unfit value is a ValueError whose message is the expectation.
"""

from __future__ import annotations

import enum
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SIZE = re.compile(r"(\d+)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_SIZE_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_TRUE = frozenset({"true", "on", "yes", "1"})
_FALSE = frozenset({"false", "off", "no", "0"})
_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@\s]*(?=@)")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a setting may be, beyond its type."""

    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    secret: bool = False
    default: str = ""
    """What the default is, in words, where the machine decides it."""


def masked(text: str) -> str:
    """A text without the passwords of the URIs in it."""
    return _PASSWORD.sub(r"\1***", text)


def shown(value: object, limits: Limits) -> str:
    """A value as text for people, secrets masked."""
    if limits.secret and value:
        return "***"
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, Mapping):
        value = ",".join(f"{name}={item}" for name, item in value.items())
    elif isinstance(value, tuple):
        value = ",".join(str(item) for item in value)
    return masked(str(value)) if value is not None else ""


def typed(hint: Any, value: object, *, sized: bool) -> object:
    """Convert a raw value to the type of a field; ``sized`` allows ``64MB`` for 67108864."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None or value == "":
            return None
        return typed(next(a for a in arguments if a is not type(None)), value, sized=sized)
    if origin is tuple:
        return _convert_list(arguments[0], value)
    if origin is not None and issubclass(origin, Mapping):
        return _convert_mapping(arguments[1], value)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _convert_enum(hint, value)
    if hint is bool:
        return _convert_bool(value)
    if hint in (int, float):
        return _convert_number(hint, value, sized=sized)
    if hint is Path and isinstance(value, str | Path) and str(value):
        return Path(value)
    if hint is str and isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError("a path" if hint is Path else "text")


def _convert_list(hint: Any, value: object) -> tuple[object, ...]:
    if isinstance(value, str):
        value = [piece.strip() for piece in value.split(",") if piece.strip()]
    if not isinstance(value, list | tuple):
        raise ValueError("a list, or text with commas between the items")
    return tuple(typed(hint, item, sized=False) for item in value)


def _convert_mapping(hint: Any, value: object) -> Mapping[str, object]:
    if isinstance(value, str):
        pairs = [piece.partition("=") for piece in value.split(",") if piece.strip()]
        if any(not separator for _, separator, _ in pairs):
            raise ValueError("a mapping, or text of the form NAME=VALUE,NAME=VALUE")
        value = {name.strip(): text.strip() for name, _, text in pairs}
    if not isinstance(value, Mapping):
        raise ValueError("a mapping")
    return types.MappingProxyType({str(name): typed(hint, item, sized=False) for name, item in value.items()})


def _convert_enum(hint: type[enum.Enum], value: object) -> enum.Enum:
    for member in hint:
        if member is value or str(member.value) == str(value).strip().lower():
            return member
    raise ValueError("one of " + ", ".join(str(member.value) for member in hint))


def _convert_bool(value: object) -> bool:
    word = str(value).strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError("true or false")


def _convert_number(hint: type, value: object, *, sized: bool) -> object:
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip()) if sized else None
        if match:
            return int(match[1]) * _SIZE_FACTORS[match[2].lower()]
        try:
            return int(value) if hint is int else float(value)
        except ValueError:
            raise ValueError(_number_words(hint, sized=sized)) from None
    if isinstance(value, bool) or not isinstance(value, int | float) or (hint is int and value != int(value)):
        raise ValueError(_number_words(hint, sized=sized))
    number: object = hint(value)
    return number


def _number_words(hint: type, *, sized: bool) -> str:
    if sized:
        return "a number of bytes, such as 1048576 or 64MB"
    return "a whole number" if hint is int else "a number"


def check(value: object, limits: Limits) -> None:
    """Raise ValueError when a typed value is outside its limits."""
    if limits.choices and value not in limits.choices:
        raise ValueError("one of " + ", ".join(limits.choices))
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    low, high = limits.minimum, limits.maximum
    too_low, too_high = low is not None and not value >= low, high is not None and not value <= high
    if too_low or too_high:
        raise ValueError(
            f"at least {low:g}" if high is None else f"at most {high:g}" if low is None else f"{low:g} to {high:g}"
        )


def _range_words(low: float | None, high: float | None) -> str:
    if high is None:
        return f"at least {low:g}"
    return f"at most {high:g}" if low is None else f"{low:g} to {high:g}"
