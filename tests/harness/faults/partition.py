"""Connections cut by the kernel: packets to and from a port of 127.0.0.1 that are dropped, rejected or lost.

Other than behind a proxy nobody is told of anything: a connection that is cut stays open at both ends. The rules are in
chains of this process's own, and what a process left behind that was killed goes when the next partition is made.
"""

from __future__ import annotations

import contextlib
import enum
import itertools
import os
import random
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.faults.privileges import Capability, lacks
from harness.processes import find_program

_NAME = "faults"
_HOOKS = {"filter": ("INPUT", "-i", "lo"), "mangle": ("OUTPUT", "-o", "lo")}
"""Packets are stopped where they arrive: of one that is stopped where it leaves, its sender's kernel learns at once."""
_numbers = itertools.count(1)


class Direction(enum.Flag):
    """Which way packets do not get through."""

    TO_SERVER = enum.auto()
    TO_CLIENT = enum.auto()
    BOTH = TO_SERVER | TO_CLIENT


def as_group(number: int) -> Sequence[str]:
    """Return what to put before a program's command so that a partition can tell it from others."""
    return ("setpriv", f"--regid={number}", "--clear-groups")


class Partition:
    """Between what listens at a port of 127.0.0.1 and its clients: all of them, or those of one ``as_group``.

    With a group, a connection is known from the first packet on that its client sends while the block lasts.
    """

    def __init__(self, port: int, client_group: int | None = None) -> None:
        """Describe it; nothing happens yet."""
        self._port, self._group = port, client_group
        self._chain = f"{_NAME}-{os.getpid()}-{next(_numbers)}"
        self._mark = random.randrange(1, 1 << 31)

    @staticmethod
    def missing() -> str:
        """Return what is not there, or nothing."""
        if lacks(Capability.NET_ADMIN):
            return "this user may not filter packets (CAP_NET_ADMIN)"
        if find_program("iptables") is None:
            return "iptables is not installed (Debian: iptables)"
        tried = _run("filter", "-S", "INPUT", check=False)
        return f"the kernel cannot filter packets: {tried.stderr}" if tried.returncode else ""

    def __enter__(self) -> Partition:
        _sweep()
        try:
            _add_chain("filter", self._chain)
            if self._group is not None:
                _add_chain("mangle", self._chain)
                owner = ("-m", "owner", "--gid-owner", str(self._group), "-p", "tcp", "--dport", str(self._port))
                _run("mangle", "-A", self._chain, *owner, "-j", "CONNMARK", "--set-mark", str(self._mark))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def drop(self, direction: Direction = Direction.BOTH) -> None:
        """Let packets vanish, as a firewall or a broken cable does."""
        self._become(direction, "-j", "DROP")

    def reject(self, direction: Direction = Direction.BOTH) -> None:
        """Answer packets with a RST, which gets through itself."""
        self._become(direction, "!", "--tcp-flags", "RST", "RST", "-j", "REJECT", "--reject-with", "tcp-reset")

    def lose(self, probability: float, direction: Direction = Direction.BOTH) -> None:
        """Let each packet vanish with this probability."""
        chance = ("-m", "statistic", "--mode", "random", "--probability", str(probability))
        self._become(direction, *chance, "-j", "DROP")

    def heal(self) -> None:
        """Let everything through."""
        _run("filter", "-F", self._chain)

    def close(self) -> None:
        """Remove the rules; may be called twice."""
        for table in _HOOKS:
            _remove_chain(table, self._chain)

    @property
    def stopped(self) -> int:
        """How many packets did not get through since the fault began."""
        lines = _run("filter", "-nvxL", self._chain).stdout.splitlines()[2:]
        return sum(int(line.split()[0]) for line in lines)

    def _become(self, direction: Direction, *target: str) -> None:
        self.heal()
        known = () if self._group is None else ("-m", "connmark", "--mark", str(self._mark))
        for way, side in ((Direction.TO_SERVER, "--dport"), (Direction.TO_CLIENT, "--sport")):
            if way in direction:
                _run("filter", "-A", self._chain, "-p", "tcp", side, str(self._port), *known, *target)


def _run(table: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [find_program("iptables") or Path("iptables"), "-w", "-t", table, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))} failed: {done.stderr}")
    return done


def _add_chain(table: str, name: str) -> None:
    _run(table, "-N", name)
    _run(table, "-I", *_HOOKS[table], "-j", name)


def _remove_chain(table: str, name: str) -> None:
    _run(table, "-D", *_HOOKS[table], "-j", name, check=False)
    _run(table, "-F", name, check=False)
    _run(table, "-X", name, check=False)


def _sweep() -> None:
    """Remove the chains of processes that are no more."""
    for table in _HOOKS:
        for name, pid in re.findall(rf"^-N ({_NAME}-(\d+)-\d+)$", _run(table, "-S").stdout, re.MULTILINE):
            with contextlib.suppress(PermissionError):
                try:
                    os.kill(int(pid), 0)
                except ProcessLookupError:
                    _remove_chain(table, name)
