"""``export``, ``backup``, ``restore`` and ``bench``: rows out of a cluster and back, and searches in bulk."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mishards.cli.exits import Exit, epilog, failing_in_one_line
from mishards.cli.load import delivery_options, report
from mishards.cli.output import address_option, json_option, print_json, run_bulk, table


@click.command(epilog=epilog("mishards export things things.parquet", "mishards export things red.npy --partition red"))
@click.argument("collection")
@click.argument("file", type=click.Path(path_type=Path))
@address_option
@click.option("--partition", "partitions", multiple=True, help="Partition tag; may be repeated.  [default: all]")
@json_option
@failing_in_one_line
def export(as_json: bool, **options: Any) -> Exit:
    """Export the rows of COLLECTION with their ids to FILE.

    FILE ends with .npy, .npz, .fvecs, .bvecs, .hdf5, .h5, .parquet, .csv, .tsv or .jsonl; ids of .npy, .fvecs and
    .bvecs go to NAME.ids.npy beside it. After Ctrl-C or a crash the same command goes on where it was. Ends with exit
    code 3 when ids are not unique: then rows cannot be told apart.
    """
    from mishards.bulk.export import ExportOptions, run_export

    done = run_bulk(lambda console: run_export(ExportOptions(**options), console, quiet=as_json))
    if as_json:
        print_json(asdict(done))
    elif done.finished:
        gone = f", {done.gone:,} were deleted meanwhile" if done.gone else ""
        click.echo(f"{done.rows:,} rows written to {', '.join(done.files)} in {done.seconds:,.1f} s{gone}")
    else:
        click.echo(_interrupted(done.rows))
    return _uniqueness(done.repeated_ids) if done.finished else Exit.INTERRUPTED


@click.command(epilog=epilog("mishards backup things /backups/things"))
@click.argument("collection")
@click.argument("folder", type=click.Path(path_type=Path))
@address_option
@click.option("--part-rows", type=click.IntRange(1), help="Rows of a part.  [default: about 64 MB]")
@json_option
@failing_in_one_line
def backup(as_json: bool, **options: Any) -> Exit:
    """Back COLLECTION up to FOLDER, with a checksum of every part.

    After Ctrl-C or a crash the same command goes on where it was. Ends with exit code 3 when ids are not unique: then
    rows cannot be told apart.
    """
    from mishards.bulk.backup import BackupOptions, run_backup

    done = run_bulk(lambda console: run_backup(BackupOptions(**options), console, quiet=as_json))
    if as_json:
        print_json(asdict(done))
    elif done.finished:
        gone = f", {done.gone:,} were deleted meanwhile" if done.gone else ""
        click.echo(f"{done.rows:,} rows backed up to {done.folder} in {done.seconds:,.1f} s{gone}")
    else:
        click.echo(_interrupted(done.rows))
    return _uniqueness(done.repeated_ids) if done.finished else Exit.INTERRUPTED


def _interrupted(rows: int) -> str:
    return f"interrupted after {rows:,} rows; the same command goes on"


def _uniqueness(repeated_ids: int) -> Exit:
    if not repeated_ids:
        return Exit.OK
    click.echo(f"{repeated_ids:,} rows have the id of another row: of each id the first row was taken", err=True)
    return Exit.PARTLY


@click.command(epilog=epilog("mishards restore /backups/things --as things_again"))
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@address_option
@click.option("--as", "name", default="", help="Name of the new collection.  [default: that of the old one]")
@delivery_options
@json_option
@failing_in_one_line
def restore(as_json: bool, **options: Any) -> Exit:
    """Restore the backup in FOLDER to a new collection: ids, partitions and index.

    A backup with a damaged part is refused before anything is inserted. After Ctrl-C, a crash or a lost connection the
    same command goes on where it was.
    """
    from mishards.bulk.delivery import Persistence
    from mishards.bulk.restore import RestoreOptions, run_restore

    persistence = Persistence(options.pop("patience_s"), options.pop("settle_s"))
    job = RestoreOptions(persistence=persistence, **options)
    return report(run_bulk(lambda console: run_restore(job, console, quiet=as_json)), as_json=as_json)


def _json_object(_context: click.Context, _option: click.Parameter, text: str) -> str:
    try:
        if isinstance(json.loads(text), dict):
            return text
    except ValueError:
        pass
    raise click.BadParameter(f"{text!r} is no JSON object")


@click.command(
    epilog=epilog("""mishards bench things --clients 8 --duration 30 --params '{"nprobe": 16}' --recall 100""")
)
@click.argument("collection")
@address_option
@click.option("--nq", type=click.IntRange(1), default=1, show_default=True, help="Queries of a call.")
@click.option("--k", type=click.IntRange(1, 16384), default=10, show_default=True, help="Neighbours of a query.")
@click.option("--params", default="{}", show_default=True, callback=_json_object, help="Search parameters, JSON.")
@click.option("--clients", type=click.IntRange(1, 1024), default=4, show_default=True, help="Calls at once.")
@click.option(
    "--duration",
    "duration_s",
    metavar="SECONDS",
    type=click.FloatRange(0.1),
    default=10.0,
    show_default=True,
    help="How long.",
)
@click.option(
    "--recall", type=click.IntRange(0), default=0, help="Measure recall with so many queries; reads every row."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed draws other queries.")
@json_option
@failing_in_one_line
def bench(as_json: bool, **options: Any) -> Exit:
    """Search COLLECTION from several clients at once and print rates and times.

    Ends with exit code 3 when calls failed.
    """
    from mishards.bulk.bench import BenchOptions, run_bench

    seen = run_bulk(lambda _console: run_bench(BenchOptions(**options)))
    if as_json:
        print_json(asdict(seen))
    else:
        rows = [(name, value) for name, value in asdict(seen).items() if isinstance(value, int | float)]
        click.echo("\n".join(table(("MEASURE", "VALUE"), rows)))
        for text, count in seen.error_texts.items():
            click.echo(f"{count:,} times: {text}", err=True)
    if not seen.calls:
        return Exit.FAILED
    return Exit.PARTLY if seen.errors else Exit.OK
