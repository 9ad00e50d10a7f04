"""Tables for people and JSON for scripts, asking a router over HTTP, and running bulk work."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import click
from rich.console import Console

from mishards.errors import ServerRefused

T = TypeVar("T")

GRPC_ADDRESS = "127.0.0.1:19530"
HTTP_ADDRESS = "127.0.0.1:19121"
_WAIT_S = 10


def json_option(command: Any) -> Any:
    """The option ``--json`` of every command that prints."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(command)


def http_option(command: Any) -> Any:
    """The option ``--http``: which router is asked."""
    text = "HTTP address of a router."
    return click.option("--http", metavar="HOST:PORT", default=HTTP_ADDRESS, show_default=True, help=text)(command)


def address_option(command: Any) -> Any:
    """The option ``--address``: which router or node is called."""
    text = "gRPC address of a router or a node."
    return click.option("--address", metavar="HOST:PORT", default=GRPC_ADDRESS, show_default=True, help=text)(command)


def run_bulk(work: Callable[[Console], Coroutine[Any, Any, T]]) -> T:
    """Run bulk work to its end; its progress goes to stderr.

    Raises:
        KeyboardInterrupt: it was ended by a second Ctrl-C.
    """
    try:
        return asyncio.run(work(Console(stderr=True)))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def print_json(value: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2))


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table, columns two blanks apart; a column of numbers stands right."""
    kept = list(rows)
    cells = [list(map(str, headings)), *([_text(cell) for cell in row] for row in kept)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [bool(kept) and all(isinstance(row[at], int | float) for row in kept) for at in range(len(headings))]
    return [
        "  ".join(
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    ]


def _text(cell: object) -> str:
    return f"{cell:,.2f}" if isinstance(cell, float) else f"{cell:,}" if isinstance(cell, int) else str(cell)


def asked(http: str, path: str) -> Any:
    """The JSON answer of a router.

    Raises:
        ServerRefused: it refuses, or there is none.
        ConfigError, StartError: what the environment says of TLS and tokens cannot be used.
    """
    from mishards.config import client_access
    from mishards.security.tls import client_context

    access = client_access()
    tls = client_context(access.client) if access.client is not None else None
    scheme = "http" if tls is None else "https"
    request = urllib.request.Request(f"{scheme}://{http}{path}")  # noqa: S310 - one of the two
    if token := access.bearer():
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=_WAIT_S, context=tls) as answer:  # noqa: S310 # nosec B310 # of the two
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise ServerRefused(json.loads(error.read() or b"{}").get("message", str(error))) from None
    except (OSError, ValueError) as error:
        raise ServerRefused(f"no router answers at {scheme}://{http}: {error}") from None
