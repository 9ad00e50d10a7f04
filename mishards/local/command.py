"""``mishards local``: the command line of the embedded cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mishards.errors import ProcessFailed, StartError
from mishards.local.cluster import ClusterOptions

_PORT = click.IntRange(0, 65535)

_EPILOG = """
\b
Example:
  mishards local --dir /tmp/words --sample
  mishards local --dir /tmp/big --port 19531 --http-port 19122 --readonly 4
"""


@click.command("local", epilog=_EPILOG)
@click.option(
    "--dir",
    "folder",
    metavar="DIR",
    type=click.Path(readable=False, path_type=Path),
    default="milvus-data",
    show_default=True,
    help="Folder of the data, the logs (logs/NAME.log) and local.json.",
)
@click.option(
    "--port",
    metavar="PORT",
    type=_PORT,
    default=19530,
    show_default=True,
    help="gRPC port of the first router; 0: any.",
)
@click.option(
    "--http-port",
    metavar="PORT",
    type=_PORT,
    default=19121,
    show_default=True,
    help="HTTP port of that router; 0: any.",
)
@click.option(
    "--writable", metavar="N", type=click.IntRange(1), default=1, show_default=True, help="Writable nodes; one leads."
)
@click.option("--readonly", metavar="N", type=click.IntRange(0), default=2, show_default=True, help="Read-only nodes.")
@click.option(
    "--routers", metavar="N", type=click.IntRange(1), default=1, show_default=True, help="Routers; more get any ports."
)
@click.option("--metadata", metavar="URI", help="Metadata database, sqlite:///… or mysql://…  [default: in DIR]")
@click.option("--discovery", metavar="URI", help="Where nodes announce themselves.  [default: file://DIR/discovery]")
@click.option("--sample", is_flag=True, help="Load 20,000 English words with their vectors, index and search them.")
@click.option("--no-restart", is_flag=True, help="Leave a process that died as it is; else it is started again.")
def local_command(folder: Path, sample: bool, no_restart: bool, **cluster: Any) -> None:
    """Run a whole cluster on this machine: routers, writable nodes and read-only nodes.

    Prints "ready HOST:PORT" once searches can be served; Ctrl-C stops all. Started again on the same DIR, it
    serves the same data. DIR/local.json says which processes are alive.
    """
    from mishards.local.run import run_cluster

    options = ClusterOptions(folder.absolute(), **cluster)
    if options.port == options.http_port != 0:
        raise click.UsageError(f"--port and --http-port are both {options.port}; they must differ")
    try:
        run_cluster(options, sample=sample, restart=not no_restart)
    except StartError as error:
        click.echo(f"mishards local: {error}", err=True)
        if isinstance(error, ProcessFailed):
            log = options.folder / "logs" / f"{error.name}.log"
            click.echo(f"the end of {log}:\n{error.output or '(it said nothing)'}", err=True)
        raise SystemExit(1) from None
