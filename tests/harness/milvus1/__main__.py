"""One node of the double as a process of its own, to be killed or stopped: ``python -m harness.milvus1 --help``.

It prints ``listening on ADDRESS`` when it is ready, and ``paused at POINT`` when it has stopped at a ``--pause-at``.
SIGUSR1 releases all pauses; SIGTERM and SIGINT end it as a server ends, with a last flush.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from harness.milvus1.hooks import Pause
from harness.milvus1.node import Milvus1Double
from harness.milvus1.options import Options, parse_option


def main() -> int:
    """Run a node until a signal ends it; return 1 when it cannot start."""
    given = _arguments()
    options = Options(**dict(given.option))
    node = Milvus1Double(given.role, given.metadata, given.storage, address=given.address, options=options)
    for point in given.pause_at:
        threading.Thread(target=_tell, args=(node.hooks.pause_at(point),), daemon=True).start()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    signal.signal(signal.SIGUSR1, lambda *_: node.hooks.release_all())
    try:
        node.start()
    except RuntimeError as error:
        print(error, file=sys.stderr, flush=True)  # noqa: T201 - a program's own output
        return 1
    print(f"listening on {node.address}", flush=True)  # noqa: T201 - a program's own output
    ended.wait()
    node.stop()
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m harness.milvus1", description="A test double of Milvus 1.x.")
    parser.add_argument("--role", choices=("rw", "ro"), required=True)
    parser.add_argument("--address", default="127.0.0.1:0", help="host:port; port 0 takes a free one")
    parser.add_argument("--metadata", required=True, metavar="URI", help="mysql://…, sqlite:///PATH or sqlite://:@:/")
    parser.add_argument("--storage", required=True, type=Path, metavar="DIR")
    parser.add_argument(
        "--option", action="append", default=[], type=parse_option, metavar="NAME=VALUE", help="a field of Options"
    )
    parser.add_argument("--pause-at", action="append", default=[], metavar="POINT", help="a value of hooks.Point")
    return parser.parse_args()


def _tell(pause: Pause) -> None:
    pause.wait_reached(threading.TIMEOUT_MAX)
    print(f"paused at {pause.point}", flush=True)  # noqa: T201 - a program's own output


if __name__ == "__main__":
    sys.exit(main())
