"""Where the lines of a program go, and how each is written. Called by the programs' entry points and nowhere else."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from logging.handlers import RotatingFileHandler
from typing import Any

from mishards.errors import StartError
from mishards.logs.options import LogFormat, LogOptions

_TEXT = "time=%(asctime)s level=%(levelname)s logger=%(name)s %(message)s"
_PLAIN = re.compile(r"[A-Za-z0-9_.:/@+,-]+")


class Facts:
    """Named values of a line: ``key=value`` pairs in text, members of the object in JSON."""

    __slots__ = ("values",)

    def __init__(self, values: Mapping[str, object]) -> None:
        self.values = values

    def __str__(self) -> str:
        """The pairs; what could be taken for more than one value is quoted."""
        return " ".join(f"{key}={_shown(value)}" for key, value in self.values.items())


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    text = str(value)
    return text if _PLAIN.fullmatch(text) else repr(text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as an object: time in UTC, level, logger, message, and the facts of a line that has some."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        facts = [arg for arg in record.args or () if isinstance(arg, Facts)]
        if facts:
            line["message"] = str(record.msg).partition(" ")[0]
            for found in facts:
                line |= {key: _rounded(value) for key, value in found.values.items()}
        else:
            line["message"] = record.getMessage()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _rounded(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


def set_up(options: LogOptions) -> None:
    """Send every line of this process where the options say.

    Raises:
        StartError: the file cannot be written.
    """
    handler = _handler(options)
    is_json = options.format is LogFormat.JSON
    handler.setFormatter(JsonFormatter() if is_json else logging.Formatter(_TEXT))
    logging.basicConfig(level=options.level.upper(), handlers=[handler])


def set_level(options: LogOptions) -> None:
    """Have lines of another severity written from now on."""
    logging.getLogger().setLevel(options.level.upper())


def _handler(options: LogOptions) -> logging.Handler:
    if options.file in ("", "-"):
        return logging.StreamHandler(sys.stdout if options.file else sys.stderr)
    try:
        return RotatingFileHandler(
            options.file, maxBytes=options.file_bytes, backupCount=options.files_kept, encoding="utf-8"
        )
    except OSError as error:
        raise StartError(f"cannot write the log {options.file}: {error.strerror}; choose another log.file") from error
