"""What our own routers and nodes say to each other beyond the Milvus protocol.

A Milvus server knows none of it: a router uses an extension only with a node that has said it has it.
"""

from __future__ import annotations

from typing import Final

CAPABILITIES_COMMAND: Final = "mishards capabilities"
"""A ``Cmd`` that one of our nodes answers with ``{"capabilities": [name, …]}``."""

WARMED_COMMAND: Final = "mishards warmed"
"""A ``Cmd`` that tells a joining node: what it will hold is in its memory."""

MEMORY: Final = "memory"
"""Capability: the node answers ``MEMORY_COMMAND``."""

MEMORY_COMMAND: Final = "mishards memory"
"""A ``Cmd`` that a node with ``MEMORY`` answers with ``{"cached_bytes": number, "capacity_bytes": number,
"segments": number}``: what its cache of segments holds, and may hold."""

JOINING: Final = "joining"
"""Capability: the node waits, while it is joining, for ``WARMED_COMMAND``."""

ELECTION: Final = "election"
"""Capability: a writable node that says whether it leads, and refuses writes with FAILED_PRECONDITION when it does not:
nothing was done then, and the call may be made at another node."""

LEADER_COMMAND: Final = "mishards leader"
"""A ``Cmd`` that a node with ``ELECTION`` answers with ``{"leading": bool, "epoch": number, "leader": text}``."""

REVISION: Final = "revision"
"""Capability: the node honours ``REVISION_KEY``."""

STRICT_FILES: Final = "strict_files"
"""Capability: asked with ``REVISION_KEY``, the node refuses a search that names a file it does not know.

Without it a node may pass over unknown files without a word, as Milvus servers do."""

REVISION_KEY: Final = "mishards-revision"
"""Metadata of a search: the catalog revision, in decimal, that the search was planned on.

A node that knows an older one reads the catalog, and the tombstones that moved, before it searches.
"""

GROWING: Final = "growing"
"""Capability of a writable node: it honours ``GROWING_KEY``."""

GROWING_KEY: Final = "mishards-growing"
"""Metadata of ``Search``: search rows alone that are in no segment yet, as ``mishards.wire.growing`` says.

Its value is the position, in decimal, up to which the router's catalog says that the collection is flushed.
"""

REPLICAS_KEY: Final = "mishards-replicas"
"""Metadata of ``PreloadCollection``, to a router: how many nodes shall hold each segment from now on, in decimal."""
