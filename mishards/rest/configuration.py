"""``/system/config`` and ``/config/advanced``: settings of the node, by ``get_config`` and ``set_config``."""

from __future__ import annotations

import re
from typing import Any

import orjson
from starlette.responses import Response

from mishards.rest.errors import illegal
from mishards.rest.exchange import Exchange
from mishards.rest.replies import OK_BODY, ok
from mishards.rest.system import command, json_command

_AT_ONCE = ("cache", "engine_config", "gpu")
"""Groups whose settings need no restart."""
_CAPACITY = "cpu_cache_capacity"
_ADVANCED = {
    _CAPACITY: ("cache", "cache_size"),
    "cache_insert_data": ("cache", "cache_insert_data"),
    "use_blas_threshold": ("engine_config", "use_blas_threshold"),
    "gpu_search_threshold": ("gpu", "gpu_search_threshold"),
}
_SIZE = re.compile(r"([0-9]+) *([bkmg]?)b?", re.IGNORECASE)
_UNITS = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30}
_TRUE = ("true", "on", "yes", "1")


async def show_config(exchange: Exchange) -> Response:
    """Every setting, by group."""
    return ok({"restart_required": False, **await json_command(exchange, "get_config *")})


async def change_config(exchange: Exchange) -> Response:
    """Change the settings in the body, one after the other; the first that fails ends it."""
    changes = [
        (group, name, _text(group, name, value))
        for group, settings in (await exchange.fields()).items()
        for name, value in _settings(group, settings)
    ]
    if not changes:
        raise illegal("The request body names no setting.")
    for group, name, value in changes:
        await command(exchange, f"set_config {group}.{name} {value}")
    restart = any(group not in _AT_ONCE for group, _name, _value in changes)
    return ok({**OK_BODY, "restart_required": restart})


async def show_advanced(exchange: Exchange) -> Response:
    """The settings of cache and engine that have names of their own; ``cpu_cache_capacity`` is in GB."""
    config = await json_command(exchange, "get_config *")
    found: dict[str, Any] = {}
    for field, (group, name) in _ADVANCED.items():
        text = config.get(group, {}).get(name)
        if text is not None:
            found[field] = _gigabytes(text) if field == _CAPACITY else _plain(text)
    return ok(found)


async def change_advanced(exchange: Exchange) -> Response:
    """Change those of them that are in the body."""
    fields = await exchange.fields()
    names = fields.present(*_ADVANCED)
    if not names:
        raise illegal(f"The request body must have one of the fields {', '.join(_ADVANCED)}.")
    for field, value in fields.items():
        if field in names:
            group, name = _ADVANCED[field]
            text = _text(group, name, value) + ("GB" if field == _CAPACITY else "")
            await command(exchange, f"set_config {group}.{name} {text}")
    return ok()


def _settings(group: str, settings: Any) -> Any:
    if not isinstance(settings, dict):
        raise illegal(f"Field '{group}' must be an object: the settings of this group.")
    return settings.items()


def _text(group: str, name: str, value: Any) -> str:
    if isinstance(value, (dict, list)) or value is None:
        raise illegal(f"Field '{group}.{name}' must be a string, a number or true or false.")
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _gigabytes(text: str) -> float:
    found = _SIZE.fullmatch(text)
    size = int(found[1]) << _UNITS[found[2].lower()] if found else 0
    return size >> 30 if size % (1 << 30) == 0 else size / (1 << 30)


def _plain(text: str) -> int | bool:
    return int(text) if text.isdigit() else text.lower() in _TRUE
