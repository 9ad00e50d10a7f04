"""Slow programs: a quota of processor time for some processes."""

from __future__ import annotations

import contextlib

from harness.faults.cgroups import add, group, hierarchy

_PERIOD_US = 100_000


class CpuQuota:
    """Gives some processes together a share of one core, such as 0.05; more while the block lasts by ``limit``."""

    def __init__(self, *pids: int, share: float) -> None:
        """Describe it; nothing happens yet."""
        self._pids, self._share = pids, share
        self._open = contextlib.ExitStack()

    @staticmethod
    def missing() -> str:
        """Return what is not there, or nothing."""
        return "" if hierarchy("cpu") else "no control group for processor time may be made here, or not by this user"

    def __enter__(self) -> CpuQuota:
        place = hierarchy("cpu")
        if place is None:
            raise AssertionError(self.missing())
        self._version = place.version
        self._group = self._open.enter_context(group(place, "cpu"))
        with contextlib.ExitStack() as undo:
            undo.push(self._open)
            self.limit(self._share)
            for pid in self._pids:
                add(self._group, pid)
            self._open = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def limit(self, share: float) -> None:
        """Give them another share of one core."""
        self._write(str(int(share * _PERIOD_US)))

    def heal(self) -> None:
        """Give them all that they want."""
        self._write("-1" if self._version == 1 else "max")

    def _write(self, quota: str) -> None:
        if self._version == 1:
            (self._group / "cpu.cfs_quota_us").write_text(quota)
        else:
            (self._group / "cpu.max").write_text(f"{quota} {_PERIOD_US}")

    @property
    def throttled(self) -> int:
        """In how many periods they wanted more than they got."""
        fields = dict(line.split() for line in (self._group / "cpu.stat").read_text().splitlines())
        return int(fields["nr_throttled"])
