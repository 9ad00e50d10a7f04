"""The command ``milvus-node``: arguments in, exit code out."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

import mishards
from milvus_node.config import load_options
from milvus_node.roles import Role
from mishards.errors import MishardsError
from mishards.logs.output import set_up
from mishards.memory import keep_freed
from mishards.transport.loop import run_on

_FLAGS = {
    "role": "role",
    "name": "name",
    "address": "address",
    "http_address": "http_address",
    "metadata": "metadata",
    "discovery": "discovery",
    "election": "election.uri",
    "storage": "storage.path",
    "log_level": "log.level",
}


@click.group()
@click.version_option(mishards.__version__, prog_name="milvus-node")
def main() -> None:
    """A vector-search node that speaks the Milvus 1.1 protocol."""


@main.command()
@click.option("--config", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="YAML file.")
@click.option("--role", type=click.Choice([role.value for role in Role]), help="writable (default) or readonly.")
@click.option("--name", help="Name in discovery; default: the bound address.")
@click.option("--address", metavar="HOST:PORT", help="gRPC; default 127.0.0.1:19530, port 0 is any free one.")
@click.option("--http-address", metavar="HOST:PORT", help="HTTP; default 127.0.0.1:19121.")
@click.option("--metadata", metavar="URI", help="sqlite:////PATH or mysql://USER:PW@HOST:PORT/DB.")
@click.option("--storage", metavar="DIR", help="The folder that all nodes share.")
@click.option("--discovery", metavar="URI", help="Where the node announces itself, e.g. file:///run/mishards.")
@click.option("--election", metavar="URI", help="Where writable nodes elect a leader; default: the metadata database.")
@click.option("--log-level", help="debug, info, warning or error.")
def serve(file: Path | None, **given: str | None) -> None:
    """Serve until SIGTERM; on SIGHUP read the settings again.

    Example: milvus-node serve --role writable --storage /mnt/shared --metadata mysql://milvus:pw@db:3306/milvus
    """
    flags = {_FLAGS[name]: (f"--{name.replace('_', '-')}", value) for name, value in given.items()}
    try:
        options = load_options(file, flags).options
        set_up(options.log)
        keep_freed()
        logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # what it tries is no news
        # faiss reads its threads and kernels from the environment when it is loaded: prepare that first.
        from milvus_node.index.engine import report
        from milvus_node.server import run

        logging.getLogger(__name__).info("faiss %s", report())
        run_on(options.loop, run(options, lambda: load_options(file, flags)))
    except MishardsError as error:
        click.echo(f"milvus-node: {error}", err=True)
        sys.exit(1)
    _leave()


def _leave() -> NoReturn:
    """End at once: the interpreter would wait for builds and merges under way, which nothing can interrupt.

    What they leave in the folder no catalog names, so the next start removes it.
    """
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)
