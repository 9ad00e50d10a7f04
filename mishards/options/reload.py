"""Reading settings again while a program runs: which changes can be taken, and which need a restart; pure."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mishards.errors import ConfigError
from mishards.options import Loaded, Setting, settings, shown

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Changed:
    """A setting that has changed, its values as text with secrets masked."""

    key: str
    before: str
    now: str
    source: str

    def __str__(self) -> str:
        """``key: before → now (source)``."""
        return f"{self.key}: {self.before or 'nothing'} → {self.now or 'nothing'} ({self.source})"


@dataclass(frozen=True, slots=True)
class Reload(Generic[T]):
    """What reading again gives: ``options`` differ from those before in the settings ``taken``, and in no other."""

    options: T
    taken: tuple[Changed, ...]
    needing_restart: tuple[Changed, ...]


def reload(before: T, loaded: Loaded[T], reloadable: Collection[str]) -> Reload[T]:
    """Take over from newly loaded options what can be changed while the program runs.

    Args:
        before: The options in force.
        loaded: The options as they would be after a restart.
        reloadable: Keys of settings.

    Raises:
        ConfigError: the settings taken do not fit with those that stay.
    """
    taken: list[Changed] = []
    needing_restart: list[Changed] = []
    for setting in settings(type(before)):
        old, new = value_of(before, setting.key), value_of(loaded.options, setting.key)
        if old != new:
            changed = _changed(setting, old, new, loaded.sources[setting.key])
            (taken if setting.key in reloadable else needing_restart).append(changed)
    try:
        options = _with(before, loaded.options, {changed.key for changed in taken})
    except ValueError as error:
        raise ConfigError(f"{'; '.join(map(str, taken))}: {error}, as long as what needs a restart stays") from error
    return Reload(options, tuple(taken), tuple(needing_restart))


def value_of(options: object, key: str) -> object:
    """The value of a setting."""
    for name in key.split("."):
        options = getattr(options, name)
    return options


def _with(before: Any, now: Any, keys: Collection[str], prefix: str = "") -> Any:
    """The options before, but for the values of some keys; each part is made once, so that they are judged together."""
    values = {}
    for field in dataclasses.fields(before):
        key, old, new = prefix + field.name, getattr(before, field.name), getattr(now, field.name)
        if dataclasses.is_dataclass(old):
            values[field.name] = _with(old, new, keys, f"{key}.")
        elif key in keys:
            values[field.name] = new
    return dataclasses.replace(before, **values)


def _changed(setting: Setting, old: object, new: object, source: str) -> Changed:
    return Changed(setting.key, shown(old, setting.limits), shown(new, setting.limits), source)


def rereading(
    options: T,
    load: Callable[[], Loaded[T]],
    reloadable: Collection[str],
    take: Callable[[T], None],
    log: logging.Logger,
) -> Callable[[], None]:
    """What a program does on SIGHUP: ``load`` its settings, and ``take`` them as they are in force then."""
    in_force = options

    def again() -> None:
        nonlocal in_force
        in_force = reread(in_force, load, reloadable, log.log)
        take(in_force)

    return again


def reread(before: T, load: Callable[[], Loaded[T]], reloadable: Collection[str], say: Callable[[int, str], None]) -> T:
    """Load and take over, and ``say`` what came of it, with the level of ``logging``; returns the options in force."""
    try:
        found = reload(before, load(), reloadable)
    except ConfigError as error:
        say(logging.ERROR, f"settings are not read again, nothing changes: {error}")
        return before
    for changed in found.taken:
        say(logging.INFO, f"setting changed {changed}")
    for changed in found.needing_restart:
        say(logging.WARNING, f"setting changed, needs a restart {changed}")
    if not found.taken and not found.needing_restart:
        say(logging.INFO, "settings read again, none has changed")
    return found.options
