"""What is in ``deploy/``: its configurations, changed in places only, and its settings, read as our programs do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from milvus_node.config import ENVIRONMENT_PREFIX as NODE
from milvus_node.config import NodeOptions
from mishards.catalog.engine import open_engine
from mishards.config import ENVIRONMENT_PREFIX as ROUTER
from mishards.config import RouterOptions
from mishards.discovery.select import discovery_for
from mishards.election.api import Candidate, ElectionOptions
from mishards.election.select import elector_for
from mishards.options import environment_layer, load, settings, variable_name
from mishards.plugins import load as load_plugin
from mishards.tracing.options import NONE as NO_TRACING
from mishards_plugins.discovery import kubernetes_watch

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def changed(text: str, changes: dict[str, str]) -> str:
    """A text with one piece after the other replaced wherever it stands.

    Raises:
        AssertionError: a piece is not there; the configuration and whoever changes it have grown apart.
    """
    for old, new in changes.items():
        if old not in text:
            raise AssertionError(f"there is no {old!r} to replace in:\n{text}")
        text = text.replace(old, new)
    return text


def image_environment(name: str) -> dict[str, str]:
    """The variables that an image (``router``, ``node``) sets."""
    text = (DEPLOY / "docker" / f"{name}.Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^ENV (.+)$", text, re.MULTILINE)
    return dict(pair.split("=", 1) for line in lines for pair in line.split())


def check_environment(environment: Mapping[str, str]) -> RouterOptions | NodeOptions:
    """Read the variables of a container as its program does, and every URI as the plugin does that it names.

    Raises:
        AssertionError: a variable is no setting of the program, or is one of the other program.
        MishardsError: a value or a URI cannot be used.
    """
    is_node = any(name.startswith(f"{NODE}_") for name in environment)
    prefix = NODE if is_node else ROUTER
    schema: type[NodeOptions] | type[RouterOptions] = NodeOptions if is_node else RouterOptions
    known = {variable_name(prefix, setting.key) for setting in settings(schema)}
    unknown = {name for name in environment if name.startswith((f"{NODE}_", f"{ROUTER}_"))} - known
    if unknown:
        raise AssertionError(f"no settings of {prefix}: {', '.join(sorted(unknown))}")
    layer = environment_layer(environment, prefix, schema)
    options = load(NodeOptions, layer).options if is_node else load(RouterOptions, layer).options
    check_options(options)
    return options


def check_options(options: RouterOptions | NodeOptions) -> None:
    """Have the URIs of a program's settings read by whoever uses them. Raises MishardsError."""
    if isinstance(options, NodeOptions):
        metadata, discovery = options.metadata_uri, options.discovery
        _check_election(options.election.uri, metadata)
    else:
        metadata, discovery = options.metadata.uri, options.discovery.uri
    open_engine(metadata).dispose()
    if discovery.startswith("kubernetes"):
        kubernetes_watch.parse(discovery)  # the plugin itself wants the files of a service account too
    else:
        discovery_for(discovery)
    if options.tracing.plugin != NO_TRACING:
        load_plugin("mishards.tracing", options.tracing.plugin)


def _check_election(uri: str, metadata: str) -> None:
    if uri.startswith("kubernetes:"):  # as above
        kubernetes_watch.parse(re.sub(r"\?lease=[\w.-]+$", "", uri))
    else:
        elector_for(uri, metadata, Candidate("node", "127.0.0.1:19530"), ElectionOptions()).close()
