"""Where the time goes: flame graphs of a router and a node under load, by py-spy, into the folder of the report.

    python benchmarks/flames.py [--seconds 5] [--only router,fanout,node]

The router is that of ``hop.py``, or, for ``fanout``, before eight nodes; the node searches 20 000 rows in a flat index
for 16 callers. The graphs are ``profile-*.svg``; the page links them.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

from cluster import cluster, fill
from machine import Skipped
from node_load import clustered, search_request
from report import write_report
from routers import catalog, expect_hits, router, static
from run import OUT
from stand_in import our_nodes, replies
from transport_load import h2load

CLIENTS = 16
ROWS = 20_480
TOPK = 10
RATE = 400
"""Samples a second."""

Target = tuple[int, str]
"""Process and address."""


@contextmanager
def routed(nodes: int) -> Iterator[Target]:
    """A router before so many stand-ins."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        metadata, _ = catalog(Path(name) / "db", "c", 8 * nodes)
        writable, *others = stack.enter_context(our_nodes(replies(nodes + 1, 1, TOPK))).addresses
        yield stack.enter_context(router(Path(name), metadata, static(writable, others)))


@contextmanager
def searching() -> Iterator[Target]:
    """A node with a flat index."""
    with tempfile.TemporaryDirectory() as name, cluster(Path(name), 0) as nodes:
        fill(nodes.writable, "c", 1, ROWS)
        yield nodes.writable_pid, nodes.writable


TARGETS: dict[str, tuple[str, Callable[[], AbstractContextManager[Target]]]] = {
    "router": ("profile-router-one-node", partial(routed, 1)),
    "fanout": ("profile-router-eight-nodes", partial(routed, 8)),
    "node": ("profile-node", searching),
}


def record(target: Target, path: Path, seconds: int) -> None:
    """Load a process and sample it.

    Raises:
        Skipped: there is no py-spy, or it may not look at the process.
    """
    spy = shutil.which("py-spy", path=f"{Path(sys.executable).parent}") or shutil.which("py-spy")
    if spy is None:
        raise Skipped("py-spy is not installed (pip install py-spy)")
    pid, address = target
    body = search_request("c", clustered(1, 1), TOPK, "{}")
    expect_hits(address, body, TOPK)
    command = [spy, "record", "--pid", str(pid), "--duration", str(seconds), "--rate", str(RATE), "--nonblocking"]
    spying = subprocess.Popen([*command, "--output", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        h2load(pid, address, body, streams=1, clients=CLIENTS, seconds=seconds)
    finally:
        _, said = spying.communicate(timeout=60)
    if not path.exists():
        raise Skipped(f"py-spy could not look at the process: {said.decode().strip()}")
    drawn = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"py-spy record [^<]*", path.stem, drawn), encoding="utf-8")


def main() -> None:
    """Record, and write the page again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--only", default=",".join(TARGETS), help="which, by commas (%(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, help="the folder of the graphs (%(default)s)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only.split(","):
        stem, start = TARGETS[name]
        path = options.out / f"{stem}.svg"
        path.unlink(missing_ok=True)
        try:
            with start() as target:
                record(target, path, options.seconds)
        except Skipped as reason:
            print(f"[{name}] skipped: {reason}")
        else:
            print(f"[{name}] {path}")
    write_report(options.out, None)


if __name__ == "__main__":
    main()
