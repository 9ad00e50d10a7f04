"""From a discovery URI to the plugin's objects."""

from __future__ import annotations

from typing import cast

from mishards.discovery.api import Announcer, AnnouncerPlugin, Discovery, DiscoveryPlugin
from mishards.errors import PluginError
from mishards.plugins import load, scheme_of

GROUP = "mishards.discovery"

_EXAMPLE = "file:///run/mishards/nodes or static://?writable=10.0.0.1:19530"


def discovery_for(uri: str) -> Discovery:
    """The discovery that a URI describes. Raises PluginError."""
    return cast("DiscoveryPlugin", load(GROUP, scheme_of(uri, _EXAMPLE))).discovery(uri)


def announcer_for(uri: str) -> Announcer | None:
    """The announcer that a URI describes, or None where nodes cannot register themselves. Raises PluginError."""
    plugin = load(GROUP, scheme_of(uri, _EXAMPLE))
    return plugin.announcer(uri) if isinstance(plugin, AnnouncerPlugin) else None


def check_known_options(uri: str, given: set[str], known: set[str]) -> None:
    """Raise PluginError when a URI's query names an option that the plugin does not have."""
    unknown = sorted(given - known)
    if unknown:
        raise PluginError(f"{uri}: unknown option {unknown[0]}; known are {', '.join(sorted(known))}")
