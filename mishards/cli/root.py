"""The command ``mishards`` and the list of what is below it."""

from __future__ import annotations

import click

from mishards.cli.bulk import backup, bench, export, restore
from mishards.cli.completion import completion
from mishards.cli.exits import EXIT_CODES
from mishards.cli.load import import_command
from mishards.cli.observe import explain, status
from mishards.cli.serve import check_config, plugins, serve
from mishards.local.command import local_command


@click.group("mishards", epilog=EXIT_CODES)
@click.version_option(package_name="mishards")
def main() -> None:
    """Sharding middleware for vector search: many nodes, one Milvus 1.1 server."""


for _command in (
    backup,
    bench,
    check_config,
    completion,
    explain,
    export,
    import_command,
    local_command,
    plugins,
    restore,
    serve,
    status,
):
    main.add_command(_command)
