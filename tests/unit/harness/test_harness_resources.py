"""What a program holds is counted, with what it started."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.resources import Allowance, Usage, usage_of
from harness.waiting import eventually

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc of Linux")


def test_threads_and_descriptors_are_counted(tmp_path: Path) -> None:
    stopping = threading.Event()
    before = usage_of(os.getpid())
    threads = [threading.Thread(target=stopping.wait) for _ in range(5)]
    files = [(tmp_path / str(number)).open("w") for number in range(7)]
    for thread in threads:
        thread.start()
    after = usage_of(os.getpid())
    stopping.set()
    for thread, file in zip(threads, files, strict=False):
        thread.join()
        file.close()
    for file in files:
        file.close()
    assert after.threads >= before.threads + 5
    assert after.descriptors >= before.descriptors + 7
    assert after.resident > 1 << 20


def test_processes_below_are_counted_too_and_one_that_has_ended_holds_nothing() -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as program:
        eventually(lambda: usage_of(program.pid).threads == 2, 30, "the process and its child are counted")
        assert program.stdin is not None
        program.stdin.close()
        program.wait(30)
    assert usage_of(program.pid) == Usage()


def test_an_allowance_is_of_the_larger_of_bytes_and_share() -> None:
    allowance = Allowance(threads=1, descriptors=1, resident=10, resident_share=0.5)
    small, large = Usage(1, 1, 10), Usage(1, 1, 100 << 20)
    assert not allowance.excess(small, Usage(2, 2, 20))
    assert not allowance.excess(large, Usage(1, 1, 150 << 20))
    assert allowance.excess(large, Usage(3, 3, 151 << 20)) == (
        "1 threads became 3, 1 descriptors became 3, 100 MB became 151"
    )
