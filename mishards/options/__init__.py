"""From file, environment and flags to frozen dataclasses of options.

A part of a program describes its settings as a frozen dataclass::

    @dataclass(frozen=True, slots=True)
    class SearchOptions:
        deadline_ms: int = field(default=30_000, metadata=about("longest search", minimum=1))

A program nests its parts in one root dataclass, its *schema* (``search: SearchOptions =
field(default_factory=SearchOptions)``), and calls ``load`` with the layers it reads, weakest first::

    loaded = load(Schema, file_layer(path, Schema), environment_layer(environ, "MISHARDS", Schema), flag_layer(flags))

The key of a setting is the dotted path of its field names (``search.deadline_ms``); units are part of the name
(``_ms``, ``_s``, ``_bytes``, ``_rows``). A part may refuse a combination of values with a ValueError in
``__post_init__``. Types: str, int, float, bool, Path, Enum, each of them ``| None``, ``tuple[X, ...]``,
``Mapping[str, X]``.

The module reads neither ``os.environ`` nor ``sys.argv``: both come in as mappings. It knows no setting by name.

Invariants: a value that was not understood is an error that names key, value, expectation and source; a key that
does not exist is an error that names the closest one; a value is never silently dropped.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml

from mishards.errors import ConfigError
from mishards.options.values import Limits, check, masked, shown, typed

__all__ = [
    "Given",
    "Layer",
    "Limits",
    "Loaded",
    "Setting",
    "about",
    "convert",
    "environment_layer",
    "file_layer",
    "flag_layer",
    "load",
    "masked",
    "settings",
    "shown",
    "variable_name",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """One leaf of a schema."""

    key: str
    type: Any
    default: object
    limits: Limits


@dataclass(frozen=True, slots=True)
class Given:
    """A raw value and the place it came from, as an error message names it."""

    value: object
    source: str


Layer = Mapping[str, Given]
"""Dotted key → what was given for it."""


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """The options, and where each value came from (``"default"`` where nothing was given)."""

    options: T
    sources: Mapping[str, str]

    def describe(self) -> list[tuple[str, str, str]]:
        """Key, value as text and source of every setting, secrets masked."""
        rows = []
        for setting in settings(type(self.options)):
            value = _get(self.options, setting.key)
            rows.append((setting.key, shown(value, setting.limits), self.sources[setting.key]))
        return rows


def about(
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] = (),
    secret: bool = False,
    default: str = "",
) -> Mapping[str, Limits]:
    """The ``metadata`` of a setting's dataclass field: its one-line description and its limits (ends included).

    ``default`` says in words what the default is, where the machine decides it.
    """
    return {"limits": Limits(help, minimum, maximum, tuple(choices), secret, default)}


def settings(schema: type, prefix: str = "") -> Iterator[Setting]:
    """Every setting of a schema, in order of definition."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        key, hint = prefix + field.name, hints[field.name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from settings(hint, key + ".")
            continue
        factory = field.default_factory
        default = field.default if factory is dataclasses.MISSING else factory()
        yield Setting(key, hint, default, field.metadata["limits"])


def load(schema: type[T], *layers: Layer) -> Loaded[T]:
    """Build the options from layers, weakest first.

    Raises ConfigError for an unknown key or a value that does not fit.
    """
    known = {setting.key: setting for setting in settings(schema)}
    given: dict[str, Given] = {}
    for layer in layers:
        for key, raw in layer.items():
            if key not in known:
                raise ConfigError(unknown_key(key, known, raw.source))
            given[key] = raw
    values = {key: convert(known[key], raw) for key, raw in given.items()}
    sources = {key: given[key].source if key in given else "default" for key in known}
    return Loaded(_build(schema, values, sources), sources)


def file_layer(path: Path, schema: type) -> dict[str, Given]:
    """Read a YAML file of nested mappings; sources are ``FILE:LINE``.

    Raises ConfigError when the file cannot be read, is not YAML, repeats a key or has an unknown one.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(f"config file {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path} is not YAML: {' '.join(str(error).split())}") from error
    layer: dict[str, Given] = {}
    if root is not None:
        leaves = {setting.key for setting in settings(schema)}
        _read_mapping(root, "", path, leaves, layer)
    return layer


def environment_layer(environ: Mapping[str, str], prefix: str, schema: type) -> dict[str, Given]:
    """What variables ``PREFIX_SECTION_FIELD`` give; others of that prefix are left alone (orchestrators make some)."""
    layer = {}
    for setting in settings(schema):
        name = variable_name(prefix, setting.key)
        if name in environ:
            layer[setting.key] = Given(environ[name], f"environment variable {name}")
    return layer


def flag_layer(flags: Mapping[str, tuple[str, object]]) -> dict[str, Given]:
    """What the command line gave: key → (flag as typed, value); a value of None means not given."""
    return {key: Given(value, f"flag {flag}") for key, (flag, value) in flags.items() if value is not None}


def variable_name(prefix: str, key: str) -> str:
    """The environment variable of a key: ``MISHARDS``, ``search.deadline_ms`` → ``MISHARDS_SEARCH_DEADLINE_MS``."""
    return f"{prefix}_{key.replace('.', '_').upper()}"


def unknown_key(key: str, known: Mapping[str, object], source: str) -> str:
    """The message for a key that does not exist, with the closest one that does."""
    sections = {name[: match.start()] for name in known for match in re.finditer(r"\.", name)}
    close = difflib.get_close_matches(key, [*known, *sections], n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(sections) or sorted(known))}"
    return f"unknown setting {key} ({source}); {hint}"


def convert(setting: Setting, raw: Given) -> object:
    """The value of a setting from what was given; raises ConfigError naming key, value, expectation and source."""
    try:
        value = typed(setting.type, raw.value, sized=setting.key.endswith("_bytes"))
        check(value, setting.limits)
    except ValueError as error:
        text = shown(raw.value, setting.limits)
        raise ConfigError(f"{setting.key} = {text} ({raw.source}): expected {error}") from error
    return value


def _read_mapping(node: yaml.Node, prefix: str, path: Path, leaves: set[str], layer: dict[str, Given]) -> None:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        what = prefix.rstrip(".") or "the file"
        raise ConfigError(f"{what} ({path}:{line}): expected settings, one 'name: value' a line")
    seen: set[str] = set()
    for key_node, value_node in node.value:
        source = f"{path}:{key_node.start_mark.line + 1}"
        key = prefix + str(key_node.value)
        if key in seen:
            raise ConfigError(f"{key} is given twice ({source})")
        seen.add(key)
        if key in leaves:
            layer[key] = Given(yaml.SafeLoader("").construct_object(value_node, deep=True), source)
        elif any(leaf.startswith(key + ".") for leaf in leaves):
            if not (isinstance(value_node, yaml.ScalarNode) and not value_node.value):
                _read_mapping(value_node, key + ".", path, leaves, layer)
        else:
            raise ConfigError(unknown_key(key, dict.fromkeys(leaves), source))


def _build(schema: type[T], values: Mapping[str, object], sources: Mapping[str, str], prefix: str = "") -> T:
    hints = typing.get_type_hints(schema)
    arguments: dict[str, object] = {}
    for field in dataclasses.fields(schema):  # type: ignore[arg-type] # T is a dataclass by contract of load
        key, hint = prefix + field.name, hints[field.name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            arguments[field.name] = _build(hint, values, sources, key + ".")
        elif key in values:
            arguments[field.name] = values[key]
    try:
        return schema(**arguments)
    except ValueError as error:
        given = sorted({sources[prefix + name] for name in arguments if sources.get(prefix + name)})
        raise ConfigError(f"{prefix.rstrip('.') or 'settings'} ({', '.join(given)}): {error}") from error


def _get(options: object, key: str) -> object:
    for name in key.split("."):
        options = getattr(options, name)
    return options
