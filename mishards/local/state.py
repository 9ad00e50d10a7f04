"""``local.json``: which processes of the cluster are alive now, for people, scripts and tests."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from mishards.local.cluster import Role

FILE_NAME = "local.json"


@dataclass(frozen=True, slots=True)
class ProcessState:
    """A living process. ``address`` is None until it has chosen its port."""

    name: str
    role: Role
    pid: int
    address: str | None


def write_state(folder: Path, processes: Iterable[ProcessState]) -> None:
    """Replace ``local.json`` at once: a reader sees the old content or the new."""
    text = json.dumps({"processes": [asdict(process) for process in processes]}, indent=2)
    draft = folder / f"{FILE_NAME}.tmp"
    draft.write_text(text + "\n", encoding="utf-8")
    draft.replace(folder / FILE_NAME)


def read_state(folder: Path) -> tuple[ProcessState, ...]:
    """What ``local.json`` says."""
    content = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    return tuple(ProcessState(**process) for process in content["processes"])
