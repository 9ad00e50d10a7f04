from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest

from milvus_node.index import engine

AVX512 = {"sse", "avx2", "fma", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@pytest.mark.parametrize(
    ("flags", "kernels"),
    [
        (AVX512, "SkylakeX"),
        (AVX512 - {"avx512bw"}, "Haswell"),
        ({"avx2", "fma"}, "Haswell"),
        ({"avx"}, None),
        (set(), None),
    ],
)
def test_blas_kernels_follow_the_flags_of_the_processor(flags: set[str], kernels: str | None) -> None:
    assert engine.environment_for(flags, {}).get("OPENBLAS_CORETYPE") == kernels


def test_what_the_operator_set_stays() -> None:
    given = {"OPENBLAS_CORETYPE": "Zen", "OMP_NUM_THREADS": "4"}
    assert engine.environment_for(AVX512, given) == {"OPENBLAS_NUM_THREADS": "1"}


def test_flags_are_read_from_the_first_processor() -> None:
    text = "processor\t: 0\nflags\t\t: fpu avx2 fma\n\nprocessor\t: 1\nflags\t\t: fpu\n"
    assert engine.cpu_flags(text) == {"fpu", "avx2", "fma"}
    assert engine.cpu_flags("Features : neon") == frozenset()


def run(program: str, **environment: str) -> object:
    """What a fresh interpreter prints as JSON."""
    command = [sys.executable, "-c", f"import json, sys\n{program}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


def test_importing_the_package_loads_no_faiss() -> None:
    modules = "import milvus_node.index.factory, milvus_node.index.file, milvus_node.index.engine"
    assert run(f"{modules}\nprint(json.dumps('faiss' in sys.modules))") is False


REPORT = """
import threading
from dataclasses import asdict
from milvus_node.index.engine import faiss, report
told = asdict(report())
thread = threading.Thread(target=lambda: told.update(in_a_thread=faiss().omp_get_max_threads()))
thread.start(); thread.join()
print(json.dumps(told))
"""


def test_a_fresh_process_runs_on_one_thread_and_says_what_is_in_force() -> None:
    told = run(REPORT)
    assert isinstance(told, dict)
    assert (told["threads"], told["in_a_thread"], told["prepared_in_time"]) == (1, 1, True)
    assert told["faiss_version"]
    assert told["blas_kernels"]


def test_the_operators_threads_reach_every_thread() -> None:
    told = run(REPORT, OMP_NUM_THREADS="3")
    assert isinstance(told, dict)
    assert (told["threads"], told["in_a_thread"]) == (3, 3)


def test_the_operators_kernels_are_in_force() -> None:
    told = run(REPORT, OPENBLAS_CORETYPE="Prescott")
    assert isinstance(told, dict)
    assert told["blas_kernels"] == "Prescott"


def test_a_faiss_that_was_there_first_is_told() -> None:
    told = run(f"import faiss\n{REPORT}")
    assert isinstance(told, dict)
    assert told["prepared_in_time"] is False


def test_one_thread_is_for_the_thread_that_asks_and_ends() -> None:
    faiss = engine.faiss()
    seen = []

    def ask() -> None:
        faiss.omp_set_num_threads(5)
        with engine.one_thread():
            seen.append(faiss.omp_get_max_threads())
        seen.append(faiss.omp_get_max_threads())

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(30)
    assert seen == [1, 5]
