"""Exit codes, and how a failure leaves the program: one line on stderr, and a JSON object where JSON was asked for."""

from __future__ import annotations

import enum
import functools
import json
from collections.abc import Callable
from typing import Any

import click

from mishards.errors import MishardsError


class Exit(enum.IntEnum):
    """What a script may decide by."""

    OK = 0
    FAILED = 1
    USAGE = 2
    """Arguments that cannot be used; click's own code for it."""
    PARTLY = 3
    """Done with something left out or not as it should be; or looked at, and unhealthy."""
    INTERRUPTED = 130
    """Ended by Ctrl-C; what can be resumed says how."""


EXIT_CODES = """\
\b
Exit codes:
  0    done
  1    failed, the reason is on stderr
  2    the arguments cannot be used
  3    done in part, or unhealthy
  130  interrupted
"""


def fail(command: str, reason: object, *, as_json: bool) -> SystemExit:
    """Say why a command failed; raise what is returned."""
    if as_json:
        click.echo(json.dumps({"error": str(reason), "exit_code": int(Exit.FAILED)}))
    click.echo(f"{command}: {reason}", err=True)
    return SystemExit(int(Exit.FAILED))


def failing_in_one_line(command: Callable[..., Exit]) -> Callable[..., None]:
    """Make the errors that are raised on purpose one line on stderr, and the returned value the exit code."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        context = click.get_current_context()
        try:
            code = command(*arguments, **options)
        except MishardsError as error:
            raise fail(context.command_path, error, as_json=bool(options.get("as_json"))) from None
        except OSError as error:
            raise fail(context.command_path, error, as_json=bool(options.get("as_json"))) from None
        except KeyboardInterrupt:
            raise SystemExit(int(Exit.INTERRUPTED)) from None
        if code:
            raise SystemExit(int(code))

    return run


def epilog(*examples: str) -> str:
    """The end of a command's help: how it is used."""
    heading = "Example:" if len(examples) == 1 else "Examples:"
    return "\n".join(["\b", heading, *(f"  {example}" for example in examples)])
