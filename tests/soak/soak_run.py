# ruff: noqa: T201 - a program for a terminal
"""A long mixed load on the full cluster, with random faults from a seed: ``make soak``.

``python -m soak.soak_run --minutes 20 --seed 1 FOLDER`` says every now and then how it goes and writes a report to
``FOLDER``; it ends with 1 when anything was wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from faults.fault_stage import Stage
from soak.soak_report import write_report
from soak.soak_work import Plan, Soak

from harness.client_venv import client_python
from harness.full_cluster import FullCluster


def main() -> int:
    """Run; return 1 when anything went wrong."""
    parser = argparse.ArgumentParser(prog="soak", description="mixed load and random faults on the full cluster")
    parser.add_argument("folder", type=Path, help="where the report goes")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="decides the faults; printed first")
    options = parser.parse_args()
    if missing := FullCluster.missing():
        print(missing)
        return 1
    print(f"soak of {options.minutes:g} minutes with SEED={options.seed}", flush=True)
    options.folder.mkdir(parents=True, exist_ok=True)
    python = client_python()
    with (
        tempfile.TemporaryDirectory(prefix="mishards-soak-", ignore_cleanup_errors=True) as folder,
        Stage(Path(folder), seed=options.seed) as stage,
    ):
        plan = Plan(options.seed, 60 * options.minutes)
        result = Soak(stage, plan, lambda line: print(line, flush=True)).run(python)
    page = write_report(result, options.folder)
    for problem in result.problems:
        print(f"WRONG: {problem}")
    print(f"{'failed' if result.problems else 'passed'}; {result.summary()}; report: {page}")
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())
