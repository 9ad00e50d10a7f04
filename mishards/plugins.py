"""Names to installed plugins.

A plugin is an entry point: its group says which interface it implements, its name is what users write in a URI or a
setting. Nothing of a plugin is imported before it is asked for. The module knows no group and no plugin by name.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, entry_points
from urllib.parse import urlsplit

from mishards.errors import PluginError

GROUPS = ("mishards.discovery", "mishards.election", "mishards.routing", "mishards.balancing", "mishards.tracing")
"""The families of plugins; each has its interface in a package of its own."""


@dataclass(frozen=True, slots=True)
class Installed:
    """One installed plugin; ``problem`` says why it cannot be loaded, empty when it can."""

    group: str
    name: str
    target: str
    distribution: str
    problem: str


def load(group: str, name: str) -> object:
    """Import the plugin of that group and name.

    Raises:
        PluginError: nothing of that name is installed, or a library that it needs is missing.
    """
    found = {entry.name: entry for entry in entry_points(group=group)}
    entry = found.get(name)
    if entry is None:
        raise PluginError(_unknown(group, name, sorted(found)))
    try:
        plugin: object = entry.load()
    except ModuleNotFoundError as error:
        raise PluginError(_missing(entry, error)) from error
    except (ImportError, AttributeError) as error:
        raise PluginError(f"{_family(group)} plugin {name!r} cannot be loaded: {error}") from error
    return plugin


def scheme_of(uri: str, example: str) -> str:
    """The plugin name that a URI begins with.

    Raises:
        PluginError: it begins with none.
    """
    scheme = urlsplit(uri).scheme
    if not scheme:
        raise PluginError(f"{uri!r} does not name a plugin; expected a URI such as {example}")
    return scheme


def installed() -> list[Installed]:
    """Every plugin of every family, by group and name; each is loaded to see whether it can be."""
    rows = []
    for group in GROUPS:
        for entry in sorted(entry_points(group=group), key=lambda point: point.name):
            try:
                load(group, entry.name)
                problem = ""
            except PluginError as error:
                problem = str(error)
            rows.append(Installed(group, entry.name, entry.value, _distribution(entry.dist), problem))
    return rows


def _unknown(group: str, name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"no {_family(group)} plugin named {name!r}; installed are {', '.join(names) or 'none'}{hint}"


def _missing(entry: EntryPoint, error: ModuleNotFoundError) -> str:
    family, module = _family(entry.group), (error.name or "").partition(".")[0]
    dist, extra = entry.dist, entry.name.partition("+")[0]
    if dist is not None and extra in (dist.metadata.get_all("Provides-Extra") or ()):
        remedy = f"pip install '{dist.name}[{extra}]'"
    else:
        remedy = f"install {module}"
    return f"{family} plugin {entry.name!r} needs the package {module}, which is not installed: {remedy}"


def _family(group: str) -> str:
    return group.rpartition(".")[2]


def _distribution(dist: Distribution | None) -> str:
    return f"{dist.name} {dist.version}" if dist is not None else ""
