# ruff: noqa: T201 - a program for a terminal
"""The long forms: ``python -m faults.fault_main FOLDER [--rows 1 2] [--short]`` writes a report to ``FOLDER``."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
from pathlib import Path

from faults.fault_judgement import longest_outage
from faults.fault_record import read, record_of, skipped, write
from faults.fault_report import write_report
from faults.fault_runner import Result, Theatre, perform
from faults.fault_table import ROWS

from harness.full_cluster import FullCluster

_STEADY_S = 5.0
"""Of load before and after each fault, to compare with."""


def main() -> int:
    """Run; return 1 where a row went wrong."""
    parser = argparse.ArgumentParser(prog="faults")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, nargs="*", default=[], help="numbers; all when there are none")
    parser.add_argument("--short", action="store_true", help="as in CI")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if missing := FullCluster.missing():
        print(missing)
        return 1
    chosen = set(options.rows) or {row.number for row in ROWS}
    well = True
    with Theatre(seed=options.seed) as theatre:
        for row in (row for row in ROWS if row.number in chosen):
            if missing := row.missing():
                print(f"{row.number:2}  {row.name}: skipped, {missing}", flush=True)
                record = skipped(row.number, row.name, row.bring.__doc__, missing)
            else:
                result = perform(theatre.stage(), row, *((row.short_s,) if options.short else (row.long_s, _STEADY_S)))
                say(result)
                record = record_of(result)
            write(record, options.folder)
            well = well and not record.problems
            write_report(read(options.folder), options.folder, _made())
    print(f"the report: {options.folder / 'index.html'}")
    return 0 if well else 1


def _made() -> str:
    now = datetime.datetime.now(datetime.timezone.utc)
    return f"Made {now:%Y-%m-%d %H:%M} UTC on {platform.system()} with {os.cpu_count()} cores."


def say(result: Result) -> None:
    """Print how a row went."""
    happened, moments = result.happened, result.happened.moments
    during = happened.during()
    failed = sum(call.outcome.value != "right" for call in during)
    print(
        f"{result.row.number:2}  {result.row.name}: {'; '.join(result.problems) or 'well'}\n"
        f"      {len(during)} calls while it lasted, {failed} failed, {sum(c.failures for c in during)} repeated;"
        f" longest outage {longest_outage(happened.calls, moments.struck, moments.recovered):.2f} s; "
        f"took {moments.struck - moments.began:.1f} + {moments.healing - moments.struck:.1f}"
        f" + {moments.healed - moments.healing:.1f} + {moments.recovered - moments.healed:.1f}"
        f" + {moments.ended - moments.recovered:.1f} s",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
