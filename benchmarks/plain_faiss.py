"""The library alone, in a process of its own: a loop of searches in one thread, with the library's own defaults.

    python benchmarks/plain_faiss.py INDEX QUERIES NPROBE

Reads orders, JSON lines, on standard input: ``{"nq": 1, "topk": 10, "seconds": 1}``. Answers with queries a second.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import numpy as np
from transport_load import on_core

from milvus_node.index import file
from milvus_node.index.api import StorableIndex
from milvus_node.index.file import Shape
from milvus_node.storage.layout import StorageLayout
from mishards.catalog.engine import open_engine
from mishards.catalog.reader import CatalogReader
from mishards.kinds import MetricType

_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def export(storage: Path, collection: str, target: Path) -> None:
    """Write what a node searches of a collection of one segment in the library's own format."""
    reader = CatalogReader(open_engine(f"sqlite:///{storage}/db/meta.sqlite"))
    found = reader.read(None).collection(collection)
    reader.close()
    (segment,) = found.segments
    path = StorageLayout(storage).segment(segment.table_id, segment.segment_id).path_of(segment.file.file_id)
    index: StorableIndex = file.load(path, Shape(MetricType.L2, segment.rows, found.dimension))
    (blob,) = index.blobs()
    with target.open("wb") as stream:
        blob.write(stream)


class PlainFaiss:
    """The process."""

    def __init__(self, index: Path, queries: Path, nprobe: int, core: int | None = 0) -> None:
        pinned = [] if core is None else on_core(core)
        command = [*pinned, sys.executable, __file__, str(index), str(queries), str(nprobe)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **_ENVIRONMENT}
        )

    def __enter__(self) -> PlainFaiss:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(30)

    def qps(self, nq: int, topk: int, seconds: float) -> float:
        """Queries a second, ``nq`` at a time."""
        orders, answers = self._process.stdin, self._process.stdout
        if orders is None or answers is None:
            raise RuntimeError("the process of the library has no pipes")
        orders.write(json.dumps({"nq": nq, "topk": topk, "seconds": seconds}) + "\n")
        orders.flush()
        return float(answers.readline())


def _main() -> None:
    import faiss

    index = faiss.read_index(sys.argv[1]) if sys.argv[1].endswith(".faiss") else None
    queries = np.load(sys.argv[2])
    if index is None:
        rows = np.load(sys.argv[1])
        index = faiss.IndexFlatL2(rows.shape[1])
        index.add(rows)
    else:
        index.nprobe = int(sys.argv[3])
    for line in sys.stdin:
        order = json.loads(line)
        nq, done, start = order["nq"], 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < order["seconds"]:
            at = done % (len(queries) - nq + 1)
            index.search(queries[at : at + nq], order["topk"])
            done += nq
        print(done / passed, flush=True)


if __name__ == "__main__":
    _main()
