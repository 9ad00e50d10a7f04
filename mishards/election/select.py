"""From an election URI to the elector."""

from __future__ import annotations

from typing import cast

from mishards.election.alone import UncontestedElector
from mishards.election.api import Candidate, ElectionOptions, ElectionPlugin, Elector
from mishards.election.database import DatabaseElector
from mishards.plugins import load, scheme_of

GROUP = "mishards.election"
DATABASE = "database"
NONE = "none"

_EXAMPLE = "database, none, or zookeeper://10.0.0.1:2181/mishards/election"


def elector_for(uri: str, metadata_uri: str, candidate: Candidate, options: ElectionOptions) -> Elector:
    """The elector that ``uri`` describes; ``database`` is the one at ``metadata_uri``, ``none`` elects its candidate.

    Raises:
        PluginError: the URI names no plugin, or one that cannot use it.
    """
    if uri == DATABASE:
        return DatabaseElector(metadata_uri, candidate, options)
    if uri == NONE:
        return UncontestedElector(candidate)
    return cast("ElectionPlugin", load(GROUP, scheme_of(uri, _EXAMPLE))).elector(uri, candidate, options)
