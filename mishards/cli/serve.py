"""``serve`` and ``check-config``: the commands that read a router's settings."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from mishards.cli.exits import Exit, epilog, failing_in_one_line
from mishards.cli.output import json_option, print_json, table

log = logging.getLogger(__name__)

_CONFIG_FLAGS = {
    "name": "--name",
    "network.address": "--address",
    "network.http_address": "--http-address",
    "metadata.uri": "--metadata",
    "discovery.uri": "--discovery",
    "log.level": "--log-level",
}


def _config_options(command: Any) -> Any:
    for flag, help_text in (
        ("--log-level", "debug, info, warning or error."),
        ("--discovery", "URI of discovery: static://?writable=…&readonly=…, file:///FOLDER, …"),
        ("--metadata", "URI of the metadata database: sqlite:////PATH or mysql://USER:PASSWORD@HOST:PORT/DB."),
        ("--http-address", "HOST:PORT for HTTP."),
        ("--address", "HOST:PORT for gRPC."),
        ("--name", "Name of this router in logs."),
    ):
        command = click.option(flag, help=help_text)(command)
    return click.option("--config", "file", type=click.Path(path_type=Path), help="YAML file of settings.")(command)


def _loaded(file: Path | None, flags: Mapping[str, object]) -> Any:
    from mishards.config import load_config

    return load_config(file, {key: (flag, flags[flag[2:].replace("-", "_")]) for key, flag in _CONFIG_FLAGS.items()})


@click.command(epilog=epilog("mishards serve --metadata sqlite:////data/meta.sqlite --discovery file:///data/nodes"))
@_config_options
@failing_in_one_line
def serve(file: Path | None, **flags: object) -> Exit:
    """Run a router. Prints "ready HOST:PORT" once searches can be served; on SIGHUP it reads its settings again."""
    from mishards.config import quiet_libraries

    quiet_libraries()
    from mishards.assembly import Router, edges_of
    from mishards.config import RELOADABLE, RouterOptions
    from mishards.logs.output import set_level, set_up
    from mishards.memory import keep_freed
    from mishards.options.reload import rereading
    from mishards.transport.loop import run_on

    options = _loaded(file, flags).options
    set_up(options.log)
    keep_freed()
    router = Router(options, edges_of(options))

    def take(found: RouterOptions) -> None:
        router.reconfigure(found)
        set_level(found.log)

    again = rereading(options, lambda: _loaded(file, flags), RELOADABLE, take, log)
    run_on(options.network.loop, _serve(router, again))
    return Exit.OK


async def _serve(router: Any, reread: Callable[[], None]) -> None:
    from mishards.transport.loop import settle

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, reread)
    address = await router.start()
    settle()
    stopped = loop.create_task(stopping.wait())
    ready = loop.create_task(router.ready())
    await asyncio.wait([stopped, ready], return_when=asyncio.FIRST_COMPLETED)
    if ready.done():
        ready.result()
        click.echo(f"ready {address}")
        sys.stdout.flush()
    ready.cancel()
    await stopping.wait()
    await router.stop()


@click.command("check-config", epilog=epilog("mishards check-config --config router.yaml"))
@_config_options
@json_option
@failing_in_one_line
def check_config(file: Path | None, as_json: bool, **flags: object) -> Exit:
    """Check the settings without starting, and print each with where it came from."""
    rows = _loaded(file, flags).describe()
    if as_json:
        print_json([{"key": key, "value": value, "source": source} for key, value, source in rows])
    else:
        for key, value, source in rows:
            click.echo(f"{key} = {value}  ({source})")
    return Exit.OK


@click.command(epilog=epilog("mishards plugins --json"))
@json_option
@failing_in_one_line
def plugins(as_json: bool) -> Exit:
    """List the installed plugins, and what is missing for those that cannot be used."""
    from mishards.plugins import installed

    found = installed()
    if as_json:
        names = ("group", "name", "target", "distribution", "problem")
        print_json([{name: getattr(plugin, name) for name in names} for plugin in found])
        return Exit.OK
    rows = [(p.group.rpartition(".")[2], p.name, p.distribution, p.problem or "ok") for p in found]
    click.echo("\n".join(table(("FAMILY", "NAME", "DISTRIBUTION", "STATE"), rows)))
    return Exit.OK
