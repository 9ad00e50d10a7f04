# ruff: noqa: T201 - a program for a terminal
"""The long form: ``python -m fuzz.fuzz_run --seconds 60 [TARGET …]``.

Each target gets mutations of its seeds and corpus for so long; an input that ended in a new way becomes one of them.
Ends with exit code 1, and the input in ``tests/fuzz/corpus``, where a parser raised what it may not, took longer than
``--slowest`` seconds for one input, or took more memory than ``--memory`` MB beyond what it began with.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import random
import resource
import sys
import time
import traceback

from fuzz.fuzz_mutate import Mutator
from fuzz.fuzz_targets import CORPUS, TARGETS, Target

_BATCH = 500
_MOST_INPUTS = 400


def main() -> int:
    """Run; return the exit code."""
    parser = argparse.ArgumentParser(prog="fuzz_run")
    parser.add_argument("targets", nargs="*", help="all when none is named")
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--slowest", type=float, default=5.0, help="seconds that one input may take")
    parser.add_argument("--memory", type=int, default=500, help="MB that a target may take")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    failed = 0
    for name in options.targets or TARGETS:
        failed += not _Run(TARGETS[name], options).ended_well()
    return 1 if failed else 0


class _Run:
    def __init__(self, target: Target, options: argparse.Namespace) -> None:
        self._target = target
        self._options = options
        self._mutator = Mutator(options.seed)
        self._inputs = target.inputs()
        self._ways: set[tuple[str, int]] = set()
        self.executed = 0

    def ended_well(self) -> bool:
        """Feed the target for its time; say what came of it."""
        before_mb, began = _peak_mb(), time.monotonic()
        ok = all(self._fed(data) for data in list(self._inputs))
        while ok and time.monotonic() < began + self._options.seconds:
            faulthandler.dump_traceback_later(self._options.slowest * 20, exit=True)
            ok = all(self._fed(self._mutator.changed(self._inputs)) for _ in range(_BATCH))
            if _peak_mb() - before_mb > self._options.memory:
                ok = self._failed(self._inputs[-1], f"memory grew by {_peak_mb() - before_mb:.0f} MB")
        faulthandler.cancel_dump_traceback_later()
        grown, seconds = _peak_mb() - before_mb, time.monotonic() - began
        print(f"{self._target.name}: {self.executed} inputs in {seconds:.0f} s, {grown:.0f} MB, {len(self._ways)} ways",
              "ok" if ok else "FAILED", flush=True)  # fmt: skip
        return ok

    def _fed(self, data: bytes) -> bool:
        began = time.perf_counter()
        try:
            end = self._target.survives(data)
        except Exception:  # noqa: BLE001 - what a parser may not raise is what is looked for
            return self._failed(data, traceback.format_exc())
        self.executed += 1
        if time.perf_counter() - began > self._options.slowest:
            return self._failed(data, f"took {time.perf_counter() - began:.1f} s")
        way = end, len(data).bit_length()
        if way not in self._ways and len(self._inputs) < _MOST_INPUTS:
            self._ways.add(way)
            self._inputs.append(data)
        return True

    def _failed(self, data: bytes, why: str) -> bool:
        kept = keep(self._target, data)
        print(f"{self._target.name}: {why}\ninput kept in {kept}", flush=True)
        return False


def keep(target: Target, data: bytes) -> str:
    """Put an input into the corpus; return where."""
    folder = CORPUS / target.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(data).hexdigest()[:12]
    path.write_bytes(data)
    return str(path)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
