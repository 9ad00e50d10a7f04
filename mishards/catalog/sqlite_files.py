"""SQLite databases in folders where this process may write nothing, such as a read-only mount.

A database with a write-ahead log needs its ``-wal`` and ``-shm`` files beside it. While the writer runs they are there;
once it has stopped cleanly they are gone, and who cannot make them cannot open the database the usual way. Nobody
writes it then, so it is opened as immutable. Such a connection would never see a writer that starts again, so it serves
one transaction and is closed.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

_NOT_HERE = ("attempt to write a readonly database", "unable to open database file")
"""What SQLite says where it cannot make the two files; which of them depends on its version."""


def open_where_nothing_can_be_written(engine: Engine) -> None:
    """Let an engine of a SQLite database open it as immutable where, and as long as, there is no other way."""

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, record: Any, arguments: list[Any], options: dict[str, Any]) -> sqlite3.Connection:
        record.info["immutable"] = False
        connection: sqlite3.Connection = sqlite3.connect(*arguments, **options)
        try:
            connection.execute("PRAGMA schema_version")
        except sqlite3.Error as error:
            connection.close()
            path = Path(arguments[0])
            if not _says_so(error) or path.with_name(path.name + "-wal").exists():
                raise
            record.info["immutable"] = True
            connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True, **options)
        return connection

    @event.listens_for(engine, "checkin")
    def returned(connection: sqlite3.Connection | None, record: Any) -> None:
        if record.info.get("immutable") and connection is not None:
            record.invalidate()

    @event.listens_for(engine, "handle_error")
    def failed(context: ExceptionContext) -> None:
        # The files went away under an open connection: the next one is made anew.
        if isinstance(context.original_exception, sqlite3.OperationalError) and _says_so(context.original_exception):
            context.is_disconnect = True


def _says_so(error: sqlite3.Error) -> bool:
    return str(error).startswith(_NOT_HERE)
