"""A cluster of real nodes over one folder: a writable one that fills it, read-only ones that search it, and quotas."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from machine import Skipped
from node_load import clustered, insert_request
from routers import DIMENSION, ask
from run import Run
from transport_load import cpu_s, process

from mishards.wire.protos import milvus_pb2 as pb

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from harness.faults.cpu_quota import CpuQuota


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where its nodes are; ids of their processes in the same order."""

    metadata: str
    writable: str
    writable_pid: int
    readonly: tuple[str, ...]
    pids: tuple[int, ...]


@contextmanager
def cluster(folder: Path, readonly: int) -> Iterator[Cluster]:
    """Nodes as they are shipped, on any core; the catalog is a SQLite file in the folder."""
    with ExitStack() as stack, ThreadPoolExecutor(readonly + 1) as threads:
        pid, address = stack.enter_context(_node(folder, "writable"))
        nodes = [_node(folder, "readonly") for _ in range(readonly)]
        started = list(threads.map(stack.enter_context, nodes))
        pids, addresses = tuple(one for one, _ in started), tuple(one for _, one in started)
        yield Cluster(f"sqlite:///{folder}/db/meta.sqlite", address, pid, addresses, pids)


@dataclass(frozen=True, slots=True)
class Watched:
    """How much CPU some processes use while something is measured."""

    pids: Sequence[int]
    before_s: Sequence[float]
    began: float

    @classmethod
    def begin(cls, pids: Sequence[int]) -> Watched:
        """Watch from now on."""
        return cls(pids, [cpu_s(pid) for pid in pids], time.monotonic())

    def shares(self) -> list[float]:
        """Of a core, for each of them, so far."""
        took_s = time.monotonic() - self.began
        return [(cpu_s(pid) - before) / took_s for pid, before in zip(self.pids, self.before_s, strict=True)]


def got_their_share(run: Run, shares: Sequence[float], share: float) -> bool:
    """Return whether nodes got what their quota allows; on a machine too busy for that, a round says nothing."""
    if min(shares) >= 0.93 * share or run.tiny:
        return True
    run.note("Rounds in which others left the nodes less than their quota are left out.")
    run.say(f"  left out: a node got {min(shares):.1%} of a core instead of {share:.0%}")
    return False


@contextmanager
def held(pids: Sequence[int], share: float) -> Iterator[list[CpuQuota]]:
    """Let each of these processes use so much of one core, and no more.

    Raises:
        Skipped: no quotas may be set here.
    """
    if missing := CpuQuota.missing():
        raise Skipped(missing)
    with ExitStack() as stack:
        yield [stack.enter_context(CpuQuota(pid, share=share)) for pid in pids]


def _node(folder: Path, role: str) -> AbstractContextManager[tuple[int, str]]:
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "milvus_node",
        "serve",
        "--address",
        "127.0.0.1:0",
        "--http-address",
        "127.0.0.1:0",
    ]
    command += ["--storage", str(folder), "--role", role, "--log-level", "warning"]
    return process(command, core=None)


def fill(address: str, name: str, segments: int, rows: int) -> None:
    """Make a collection of so many segments, of so many rows each, which no merge touches."""
    megabytes = max(1, rows * DIMENSION * 4 >> 20)
    schema = pb.CollectionSchema(collection_name=name, dimension=DIMENSION, index_file_size=megabytes, metric_type=1)
    _ok(ask(address, "CreateCollection", schema.SerializeToString()))
    for number in range(segments):
        _ok(ask(address, "Insert", insert_request(name, clustered(rows, number + 1))))
        _ok(ask(address, "Flush", pb.FlushParam(collection_name_array=[name]).SerializeToString()))


def _ok(reply: bytes) -> None:
    status = pb.BoolReply.FromString(reply).status
    if status.error_code:
        raise SystemExit(status.reason)
