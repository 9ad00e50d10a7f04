"""``status`` and ``explain``: what a router sees, and what a search would do."""

from __future__ import annotations

import urllib.parse
from typing import Any

import click

from mishards.cli.exits import Exit, epilog, failing_in_one_line
from mishards.cli.output import asked, http_option, json_option, print_json, table
from mishards.cli.state import is_healthy, status_lines


@click.command(epilog=epilog("mishards explain things --partition red --http 127.0.0.1:19121"))
@click.argument("collection")
@http_option
@click.option("--partition", "partitions", multiple=True, help="Partition tag, as in a search; may be repeated.")
@json_option
@failing_in_one_line
def explain(collection: str, http: str, partitions: tuple[str, ...], as_json: bool) -> Exit:
    """Print the plan that a search of COLLECTION would use.

    Ends with exit code 3 when nobody can search a segment now.
    """
    query = urllib.parse.urlencode([("partition", tag) for tag in partitions])
    plan = asked(http, f"/explain/{urllib.parse.quote(collection, safe='')}?{query}")
    if as_json:
        print_json(plan)
    else:
        click.echo(f"{collection}: {len(plan['segments'])} segments, {plan['replicas']} replicas each")
        headings = ("SEGMENT", "PARTITION", "ROWS", "KIND", "NODES", "ASKED NOW")
        click.echo("\n".join(table(headings, map(_plan_row, plan["segments"]))))
    return Exit.OK if all(segment["asked"] for segment in plan["segments"]) else Exit.PARTLY


def _plan_row(segment: dict[str, Any]) -> tuple[object, ...]:
    nodes = " > ".join(segment["nodes"] + [f"({name})" for name in segment["spares"]])
    kind = "index" if segment["indexed"] else "raw"
    asked_now = segment["asked"] or "nobody"
    return segment["segment_id"], segment["partition"], segment["rows"], kind, nodes, asked_now


@click.command(epilog=epilog("mishards status", "mishards status --watch", "mishards status --json | jq .nodes"))
@http_option
@click.option("--watch", is_flag=True, help="Show it live until q or Ctrl-C; with --json, one line each time.")
@click.option(
    "--interval",
    "interval_s",
    metavar="SECONDS",
    type=click.FloatRange(0.05, 3600),
    default=1.0,
    show_default=True,
    help="Between two looks of --watch.",
)
@json_option
@failing_in_one_line
def status(http: str, watch: bool, interval_s: float, as_json: bool) -> Exit:
    """Print the nodes as a router sees them, and the age of its snapshot.

    Ends with exit code 3 when the cluster is unhealthy: a node is down or absent, there is no writable node or none to
    search on, or the metadata database is away.
    """
    if watch:
        from mishards.cli.watch import watch_status

        return watch_status(http, interval_s, as_json=as_json)
    seen = asked(http, "/status")
    if as_json:
        print_json(seen)
    else:
        click.echo("\n".join(status_lines(seen)))
    return Exit.OK if is_healthy(seen) else Exit.PARTLY
