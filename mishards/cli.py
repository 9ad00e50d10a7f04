"""Arguments in, exit code out. Logging is set up here and nowhere else."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mishards.errors import ConfigError, PluginError, StartError

_CONFIG_FLAGS = {
    "name": "--name",
    "network.address": "--address",
    "network.http_address": "--http-address",
    "metadata.uri": "--metadata",
    "discovery.uri": "--discovery",
    "log.level": "--log-level",
}

_HTTP = "127.0.0.1:19121"


class _Lazy(click.Group):
    """Finds the command ``local`` only when it is asked for: it belongs to a part of its own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "local"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "local":
            from mishards.local.command import local_command

            return local_command
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Lazy)
@click.version_option(package_name="mishards")
def main() -> None:
    """Sharding middleware for vector search: many nodes, one Milvus 1.1 server."""


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

    named = {key: (flag, flags[flag[2:].replace("-", "_")]) for key, flag in _CONFIG_FLAGS.items()}
    try:
        return load_config(file, named)
    except ConfigError as error:
        raise SystemExit(f"mishards: {error}") from None


@main.command()
@_config_options
def serve(file: Path | None, **flags: object) -> None:
    """Run a router. Prints "ready HOST:PORT" once searches can be served."""
    from mishards.config import quiet_libraries

    quiet_libraries()
    from mishards.assembly import Router, edges_of

    options = _loaded(file, flags).options
    _set_up_logging(options.log.level, requests=options.log.requests)
    try:
        asyncio.run(_serve(Router(options, edges_of(options))))
    except (ConfigError, PluginError, StartError) as error:
        raise SystemExit(f"mishards serve: {error}") from None


async def _serve(router: Any) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    address = await router.start()
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


@main.command("check-config")
@_config_options
def check_config(file: Path | None, **flags: object) -> None:
    """Check the settings without starting, and print each with where it came from."""
    for key, value, source in _loaded(file, flags).describe():
        click.echo(f"{key} = {value}  ({source})")


@main.command()
def plugins() -> None:
    """List the installed plugins, and what is missing for those that cannot be used."""
    from mishards.plugins import installed

    for found in installed():
        state = found.problem or "ok"
        click.echo(f"{found.group.rpartition('.')[2]:12} {found.name:20} {found.distribution:20} {state}")


@main.command()
@click.argument("collection")
@click.option("--http", default=_HTTP, show_default=True, help="HTTP address of a router.")
@click.option("--partition", "partitions", multiple=True, help="Partition tag, as in a search; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print the router's answer as it is.")
def explain(collection: str, http: str, partitions: tuple[str, ...], as_json: bool) -> None:
    """Print the plan that a search of COLLECTION would use."""
    query = urllib.parse.urlencode([("partition", tag) for tag in partitions])
    plan = _asked(http, f"/explain/{urllib.parse.quote(collection, safe='')}?{query}")
    if as_json:
        click.echo(json.dumps(plan, indent=2))
        return
    click.echo(f"{collection}: {len(plan['segments'])} segments, {plan['replicas']} replicas each")
    for segment in plan["segments"]:
        nodes = " > ".join(segment["nodes"] + [f"({name})" for name in segment["spares"]])
        kind = "index" if segment["indexed"] else "raw"
        click.echo(
            f"  {segment['segment_id']}  {segment['partition']}  {segment['rows']:>9} rows  {kind:5}  {nodes}"
            f"  asked now: {segment['asked'] or 'nobody'}"
        )


@main.command()
@click.option("--http", default=_HTTP, show_default=True, help="HTTP address of a router.")
@click.option("--json", "as_json", is_flag=True, help="Print the router's answer as it is.")
def status(http: str, as_json: bool) -> None:
    """Print the nodes as a router sees them, and the age of its snapshot."""
    seen = _asked(http, "/status")
    if as_json:
        click.echo(json.dumps(seen, indent=2))
        return
    catalog = seen["catalog"]
    away = f", away: {catalog['error']}" if catalog["error"] else ""
    click.echo(f"catalog: version {catalog['version']}, {catalog['age_ms']} ms old{away}")
    for node in seen["nodes"]:
        task = "writer" if node["name"] == seen["writer"] else "searches" if node["name"] in seen["searchers"] else ""
        click.echo(
            f"  {node['name']:24} {node['address']:24} {node['role']:9} {node['state']:9} {node['health']:5} "
            f"{task:9} {node['outstanding']:>4} calls {node['latency_ms']:>9.2f} ms  {node['reason']}"
        )


def _asked(http: str, path: str) -> Any:
    """The JSON answer of a router; exits with one line when there is none."""
    try:
        with urllib.request.urlopen(f"http://{http}{path}", timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"mishards: {json.loads(error.read() or b'{}').get('message', error)}") from None
    except OSError as error:
        raise SystemExit(f"mishards: no router answers at http://{http}: {error}") from None


def _set_up_logging(level: str, *, requests: bool) -> None:
    logging.basicConfig(
        level=level.upper(),
        stream=sys.stderr,
        format="time=%(asctime)s level=%(levelname)s logger=%(name)s %(message)s",
    )
    logging.getLogger("mishards.access").setLevel(level.upper() if requests else logging.CRITICAL)
