from __future__ import annotations

import subprocess
import sys

import pytest

from mishards.memory import keep_freed

_PROGRAM = """
import resource, sys
from mishards.memory import keep_freed

if sys.argv[1] == "kept":
    assert keep_freed({})

def fill():
    return [b"x" * (4 << 20) for _ in range(8)]

for _ in range(3):
    fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(which: str) -> int:
    """The pages that a process had to be given anew for blocks as large as those that it had freed."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM, which], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_what_was_freed_is_used_again() -> None:
    freed = faults("freed")
    if freed < 1000:
        pytest.skip("this C library keeps freed memory anyway")
    assert faults("kept") < freed / 2


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_what_the_operator_decided_stays(name: str) -> None:
    assert not keep_freed({name: "1"})
