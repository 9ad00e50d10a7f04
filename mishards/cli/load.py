"""``import``: the rows of a file into a collection."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mishards.cli.exits import Exit, epilog, failing_in_one_line
from mishards.cli.output import address_option, json_option, print_json, run_bulk

if TYPE_CHECKING:
    from mishards.bulk.imports import Loaded

METRICS = ("L2", "IP", "HAMMING", "JACCARD", "TANIMOTO", "SUBSTRUCTURE", "SUPERSTRUCTURE")

_EXAMPLES = epilog(
    "mishards import vectors.npy things --create --metric L2",
    "mishards import sift.hdf5 sift --create --vectors train",
    "mishards import rows.parquet things --ids id --skip-bad --bad-rows bad.jsonl",
)


def delivery_options(command: Any) -> Any:
    """The options of everything that inserts rows and can be resumed."""
    for option in reversed(
        (
            click.option("--state", type=click.Path(path_type=Path), help="File that remembers what is done."),
            click.option("--again", is_flag=True, help="Do it once more though it was done."),
            click.option(
                "--in-flight", type=click.IntRange(1, 64), default=4, show_default=True, help="Inserts at once."
            ),
            click.option("--batch-rows", type=click.IntRange(1), help="Rows of an insert.  [default: about 8 MB]"),
            click.option(
                "--patience",
                "patience_s",
                metavar="SECONDS",
                type=click.FloatRange(0),
                default=60.0,
                show_default=True,
                help="Give up when rows cannot be delivered for so long.",
            ),
            click.option(
                "--settle",
                "settle_s",
                metavar="SECONDS",
                type=click.FloatRange(0),
                default=5.0,
                show_default=True,
                help="Wait so long before looking whether rows arrived.",
            ),
        )
    ):
        command = option(command)
    return command


@click.command("import", epilog=_EXAMPLES)
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("collection")
@address_option
@click.option("--create", is_flag=True, help="Create the collection, or the partition, where there is none.")
@click.option("--metric", type=click.Choice(METRICS, case_sensitive=False), default="L2", show_default=True)
@click.option("--index-file-size", type=click.IntRange(1, 4096), default=1024, show_default=True, help="MB.")
@click.option("--partition", default="", help="Partition tag.  [default: none]")
@click.option("--vectors", default="", help="Array, dataset, column or key of the vectors.")
@click.option("--ids", default="", help="The same of the ids; a .npy file for .npy and .fvecs.")
@click.option("--first-id", type=click.IntRange(0), help="Without --ids, rows are numbered from here on.  [default: 0]")
@click.option("--skip-bad", is_flag=True, help="Leave out rows that cannot be used.")
@click.option("--bad-rows", type=click.Path(path_type=Path), help="List them here, a JSON object a line.")
@delivery_options
@json_option
@failing_in_one_line
def import_command(as_json: bool, **options: Any) -> Exit:
    """Import FILE into COLLECTION, with a progress bar.

    FILE ends with .npy, .npz, .fvecs, .ivecs, .bvecs, .hdf5, .h5, .parquet, .csv, .tsv or .jsonl. After Ctrl-C, a
    crash or a lost connection the same command goes on where it was: no row twice and none lost, provided that ids are
    unique.

    Ends with exit code 3 when rows were left out, or the collection's count is not what it should be.
    """
    from mishards.bulk.delivery import Persistence
    from mishards.bulk.imports import Creation, ImportOptions, run_import
    from mishards.kinds import MetricType

    persistence = Persistence(options.pop("patience_s"), options.pop("settle_s"))
    metric, size = MetricType[options.pop("metric").upper()], options.pop("index_file_size")
    creation = Creation(metric, size) if options.pop("create") else None
    job = ImportOptions(create=creation, persistence=persistence, **options)
    loaded = run_bulk(lambda console: run_import(job, console, quiet=as_json))
    return report(loaded, as_json=as_json)


def report(loaded: Loaded, *, as_json: bool) -> Exit:
    """Say how a load ended."""
    if as_json:
        print_json({**asdict(loaded), "count_fits": loaded.count_fits})
    elif loaded.already:
        click.echo(f"{loaded.rows:,} rows were loaded already, as {loaded.state} says; --again loads them once more")
    elif not loaded.finished:
        click.echo(f"interrupted after {loaded.rows:,} rows; the same command goes on, as {loaded.state} says")
    else:
        bad = f", {loaded.bad_rows:,} bad rows left out" if loaded.bad_rows else ""
        click.echo(f"{loaded.collection}: {loaded.rows:,} rows loaded in {loaded.seconds:,.1f} s{bad}")
    if not loaded.count_fits:
        click.echo(
            f"{loaded.collection} had {loaded.rows_before:,} rows and got {loaded.rows:,}, but now has "
            f"{loaded.rows_after:,}; does something else write to it?",
            err=True,
        )
    if not loaded.finished:
        return Exit.INTERRUPTED
    return Exit.PARTLY if loaded.bad_rows or not loaded.count_fits else Exit.OK
