"""The values in force, and the file that keeps what ``set_config`` changed over restarts."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from milvus_node.settings.keys import KEYS, Machine, check_value
from milvus_node.storage.file_io import storage_errors
from milvus_node.storage.staging import Staging
from mishards.errors import CommandError, ConfigError

FILE_NAME = "settings.json"

OnChange = Callable[[str, str], None]
"""Told the key and the new value of a setting that acts at once."""


def saved(folder: Path) -> dict[str, str]:
    """What earlier ``set_config`` calls left in ``folder``; keys that do not exist any more are left out.

    Raises:
        ConfigError: the file is no such file.
    """
    path = folder / FILE_NAME
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; repair or remove it") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is no object of settings; repair or remove it")
    return {key: str(value) for key, value in content.items() if key in KEYS}


class Settings:
    """Answers ``get_config`` and ``set_config``. Safe from any thread."""

    def __init__(self, values: Mapping[str, str], machine: Machine, folder: Path | None, on_change: OnChange) -> None:
        """Begin with ``values`` over the defaults; ``folder`` None keeps changes in memory only."""
        self._values = {name: key.default for name, key in KEYS.items()} | dict(values)
        self._machine = machine
        self._folder = folder
        self._on_change = on_change
        self._lock = threading.Lock()
        self.restart_required = False

    def get(self, name: str) -> str:
        """The value of ``parent.rest``, or of ``*`` all of them as JSON, grouped by parent, and ``restart_required``.

        Raises:
            CommandError: there is no such key.
        """
        if name == "*":
            told = {**self.grouped(), "restart_required": self.restart_required}
            return json.dumps(told, separators=(",", ":"), sort_keys=True)
        if name not in self._values:
            raise CommandError(f"Config node invalid: {name}")
        return self._values[name]

    def grouped(self) -> dict[str, dict[str, str] | str]:
        """All values: parent → rest → value."""
        groups: dict[str, dict[str, str] | str] = {}
        for name, value in self._values.items():
            parent, _, rest = name.partition(".")
            group = groups.setdefault(parent, {} if rest else value)
            if isinstance(group, dict):
                group[rest] = value
        return groups

    def set(self, name: str, value: str) -> None:
        """Check, keep and announce a value.

        Raises:
            CommandError: there is no such key, or it can only be read.
            IllegalArgument: the value does not fit.
            StorageError: it could not be kept; nothing changed.
        """
        key = KEYS.get(name)
        if key is None or not key.settable:
            raise CommandError(f"Config node invalid: {name}")
        with self._lock:
            check_value(name, value, self._values, self._machine)
            if self._folder is not None:
                self._save(self._folder, name, value)
            self._values[name] = value
            if not key.live:
                self.restart_required = True
        if key.live:
            self._on_change(name, value)

    def became(self, name: str, value: str) -> None:
        """Show another value, which the program's own options have given; it is not kept."""
        with self._lock:
            self._values[name] = value

    @staticmethod
    def _save(folder: Path, name: str, value: str) -> None:
        path = folder / FILE_NAME
        with storage_errors(path):
            folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps({**saved(folder), name: value}, indent=2, sort_keys=True).encode() + b"\n"
        with Staging(folder) as staging:
            staging.write(FILE_NAME, [content])
            staging.publish()


def this_machine(collections: Callable[[], frozenset[str]]) -> Machine:
    """The machine that the process runs on."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(total, os.cpu_count() or 1, collections)
