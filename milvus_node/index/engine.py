"""faiss, imported once and the way it runs fast.

The BLAS inside the faiss wheel takes its kernels and its number of threads from the environment, and reads it when the
library is loaded. So the rest of this package never writes ``import faiss``; it calls `faiss()`, which prepares the
environment, imports, and sets what is set afterwards. Importing this module, or any other of the package, loads
nothing. A program that wants the cost (about half a second) at its start, or wants to log what is in force, calls
`report()` there.

OpenMP keeps its number of threads per thread: ``omp_set_num_threads`` in one leaves every other, and every thread
started later, at what the environment said. The environment is therefore the only setting that reaches the threads
which search.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLAS_FROM_QUERIES = 4
"""Batches of at least this many queries are faster through matrix products than row by row, at any dimension."""

_PRECOMPUTED_TABLE_BYTES = 256 << 20

_KERNELS = (
    (frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}), "SkylakeX"),
    (frozenset({"avx2", "fma"}), "Haswell"),
)

_loading = threading.Lock()


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What is in force, for the log."""

    faiss_version: str
    faiss_kernels: str
    """What this faiss was compiled for, as it says itself."""
    blas_kernels: str
    """What its BLAS picked, or was told; empty where neither is known."""
    threads: int
    """OpenMP threads of the calling thread."""
    prepared_in_time: bool
    """False: something imported faiss before `faiss()` could prepare the environment."""


def environment_for(cpu_flags: Set[str], environ: Mapping[str, str]) -> dict[str, str]:
    """The variables to add before faiss is loaded; one that ``environ`` already has is the operator's."""
    wanted = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    kernels = next((name for needed, name in _KERNELS if needed <= cpu_flags), None)
    if kernels is not None:
        wanted["OPENBLAS_CORETYPE"] = kernels
    return {name: value for name, value in wanted.items() if name not in environ}


def cpu_flags(cpuinfo: str) -> frozenset[str]:
    """The flags of the first processor in the text of ``/proc/cpuinfo``; empty where it lists none."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()


@functools.cache
def faiss() -> Any:
    """The faiss module, prepared. The first call imports it."""
    return _load()[0]


def report() -> EngineReport:
    """Load faiss when that has not happened yet, and tell what is in force."""
    module, prepared_in_time = _load()
    return EngineReport(
        faiss_version=module.__version__,
        faiss_kernels=module.get_compile_options().strip(),
        blas_kernels=_blas_kernels() or os.environ.get("OPENBLAS_CORETYPE", ""),
        threads=module.omp_get_max_threads(),
        prepared_in_time=prepared_in_time,
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep faiss to one thread in the calling thread: several would add rows to a graph in an order of chance."""
    module = faiss()
    before = module.omp_get_max_threads()
    module.omp_set_num_threads(1)
    try:
        yield
    finally:
        module.omp_set_num_threads(before)


def _load() -> tuple[Any, bool]:
    """The module, and whether the environment was prepared before it was imported."""
    with _loading:
        return _load_once()


@functools.cache
def _load_once() -> tuple[Any, bool]:
    in_time = "faiss" not in sys.modules
    if in_time:
        os.environ.update(environment_for(cpu_flags(_read("/proc/cpuinfo")), os.environ))
    module = importlib.import_module("faiss")
    # faiss compares this with nq * dimension (older versions: with nq). 1 leaves the choice to the callers here: they
    # go round the matrix product, for fewer than BLAS_FROM_QUERIES, themselves.
    module.cvar.distance_compute_blas_threshold = 1
    module.cvar.precomputed_table_max_bytes = _PRECOMPUTED_TABLE_BYTES
    return module, in_time


def _blas_kernels() -> str:
    """Ask the OpenBLAS that faiss brought along; empty when there is none, or it cannot say."""
    libraries = {line.split()[-1] for line in _read("/proc/self/maps").splitlines() if "openblas" in line}
    for library in sorted(path for path in libraries if "faiss" in path):
        try:
            ask = ctypes.CDLL(library).openblas_get_corename
        except (OSError, AttributeError):
            continue
        ask.restype = ctypes.c_char_p
        return str(ask().decode())
    return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
