"""All benchmarks, one after the other, and the report: ``python benchmarks --only hop,merge --rounds 3``.

Each is a program of its own. One that fails or lacks something is said so, and the others go on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from report import DOCUMENT, SUITE, write_report
from run import OUT

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run them; 1 when one failed."""
    options = _arguments()
    names = [name for name in options.only.replace(",", " ").split() if name] or list(SUITE)
    began, failed = time.monotonic(), []
    for name in names:
        (options.out / f"{name}.json").unlink(missing_ok=True)
        print(f"== {name} ({time.monotonic() - began:.0f} s)", flush=True)
        if subprocess.run([sys.executable, str(HERE / f"{name}.py"), *_passed_on(options)], check=False).returncode:
            failed.append(name)
            print(f"== {name} failed, see above", flush=True)
    write_report(options.out, options.document)
    print(f"== {len(names)} benchmarks in {time.monotonic() - began:.0f} s; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def _passed_on(options: argparse.Namespace) -> list[str]:
    passed = [f"--out={options.out}"]
    if options.rounds:
        passed.append(f"--rounds={options.rounds}")
    if options.tiny:
        passed.append("--tiny")
    return passed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=f"Run the benchmarks: {', '.join(SUITE)}.")
    parser.add_argument("--only", default="", help="which, by commas or spaces (all)")
    parser.add_argument("--rounds", type=int, help="of each (its own number)")
    parser.add_argument("--tiny", action="store_true", help="as small as they work; the figures mean nothing")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="the table to write (%(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, help="the folder of the results (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
