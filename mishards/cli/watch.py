"""``status --watch``: the same table again and again, live on a terminal, plain elsewhere."""

from __future__ import annotations

import contextlib
import json
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from typing import Any

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from mishards.cli.exits import Exit
from mishards.cli.output import asked
from mishards.cli.state import is_healthy, status_lines
from mishards.errors import ServerRefused

_HINT = "q or Ctrl-C ends"
_STYLES = (("down", "bold red"), ("absent", "bold red"), ("away", "bold red"), ("up", "green"))


def watch_status(http: str, interval_s: float, *, as_json: bool) -> Exit:
    """Show the state of a router every ``interval_s`` seconds until q or Ctrl-C; a router that is away is waited for.

    The exit code tells the last look: PARTLY when the cluster was unhealthy or no router answered.
    """
    healthy = False
    live_view = sys.stdout.isatty() and not as_json
    with contextlib.suppress(KeyboardInterrupt), _keys() as quits, _shown(live_view, as_json) as show:
        while True:
            try:
                seen = asked(http, "/status")
                healthy = is_healthy(seen)
                show(seen)
            except ServerRefused as error:
                healthy = False
                show({"error": str(error)})
            if quits(interval_s):
                break
    return Exit.OK if healthy else Exit.PARTLY


@contextlib.contextmanager
def _shown(live_view: bool, as_json: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    if not live_view:
        yield lambda seen: click.echo(json.dumps(seen) if as_json else "\n".join(_lines(seen)))
        return
    with Live(screen=True, auto_refresh=False) as live:
        yield lambda seen: live.update(_drawn(seen), refresh=True)


def _lines(seen: dict[str, Any]) -> list[str]:
    return [seen["error"]] if "error" in seen else status_lines(seen)


def _drawn(seen: dict[str, Any]) -> Group:
    lines = [Text(line, no_wrap=True) for line in _lines(seen)]
    for line in lines:
        for word, style in _STYLES:
            line.highlight_regex(rf"\b{word}\b", style)
    stamp = Text(f"{time.strftime('%H:%M:%S')}  {_HINT}", style="dim")
    return Group(stamp, *lines)


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """A wait of so many seconds that says whether q was pressed; keys are read one by one and not shown."""
    if not sys.stdin.isatty():
        yield _slept
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield lambda seconds: bool(select.select([descriptor], [], [], seconds)[0]) and _is_quit(sys.stdin.read(1))
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _slept(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _is_quit(key: str) -> bool:
    return key in ("q", "Q", "")
