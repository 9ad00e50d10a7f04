"""Becomes another program that the kernel kills as soon as its parent dies.

Run as a script: ``python tether.py PARENT_PID PROGRAM ARGUMENT…``. A program of its own rather than a hook between fork
and exec, because such a hook is unsafe beside threads. It knows nothing but the standard library, so that it can run
without site packages, which makes it quick.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From ``linux/prctl.h``; it outlives exec."""


def main() -> None:
    """Tie this process to its parent and become the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the parent died before the child was tied to it")
    os.execv(program[0], program)  # noqa: S606 - the command line is the supervisor's own, no shell in between


if __name__ == "__main__":
    main()
