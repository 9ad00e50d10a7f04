"""Run the full cluster of the tests for a person, until Ctrl-C: ``make cluster``."""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from pathlib import Path

from harness.full_cluster import FullCluster, http_address


def main() -> int:
    """Start it, say where everything is, and wait."""
    if missing := FullCluster.missing():
        say(missing)
        return 1
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with tempfile.TemporaryDirectory(prefix="mishards-cluster-") as folder:
        say("starting 3 ZooKeepers, MariaDB, 5 nodes, 2 routers, nginx and Prometheus …")
        with FullCluster(Path(folder)) as cluster:
            show(cluster)
            stopping.wait()
            say("stopping")
    return 0


def say(text: str) -> None:
    """Write a line at once."""
    print(text, flush=True)  # noqa: T201 - this is what the program is for


def show(cluster: FullCluster) -> None:
    """Print the addresses."""
    lines = [
        ("clients", f"{cluster.address}   (nginx before {' and '.join(cluster.router_addresses)})"),
        *((f"{router.name} status", f"http://{http_address(router)}/") for router in cluster.routers),
        *((node.name, f"{node.address}   pid {node.pid}") for node in cluster.nodes),
        *((server.name.partition("-")[0], f"{server.address}   {server.mode()}") for server in cluster.zookeepers),
        ("prometheus", f"http://{cluster.prometheus.address}/"),
        ("data and logs", str(cluster.folder)),
    ]
    width = max(len(name) for name, _ in lines)
    for name, what in lines:
        say(f"  {name:<{width}}  {what}")
    say("Kill what you like and watch; Ctrl-C ends it, and removes its data.")


if __name__ == "__main__":
    sys.exit(main())
