"""Behaves like a process of a cluster, as far as a supervisor can see; run as a program, standard library only."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import threading
from pathlib import Path


def main() -> None:
    arguments = _arguments()
    sys.stderr.write("a line of log\n")
    if arguments.mode == "broken" or (arguments.mode == "fragile" and arguments.notes.exists()):
        sys.exit("cannot listen: something is wrong")
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if arguments.mode == "stubborn" else lambda *_: stopped.set())
    host, _, port = arguments.address.rpartition(":")
    with socket.create_server((host, int(port))) as server:
        if arguments.mode != "mute":
            sys.stdout.write(f"ready {host}:{server.getsockname()[1]}\n")
            sys.stdout.flush()
        if arguments.mode == "fragile":
            _note(arguments.notes, f"started {arguments.name}")
        while not stopped.wait(0.02):
            pass
    _note(arguments.notes, f"stopped {arguments.name}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--http-address", required=True)
    parser.add_argument("--mode", default="good", choices=["good", "stubborn", "broken", "mute", "fragile"])
    parser.add_argument("--notes", type=Path)
    return parser.parse_args()


def _note(notes: Path | None, line: str) -> None:
    if notes is not None:
        with notes.open("a") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    main()
