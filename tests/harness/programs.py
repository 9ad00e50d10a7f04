"""Which programs are put to the test: the source as it lies here, or those in the folder ``MISHARDS_BIN`` names."""

from __future__ import annotations

import os
import sys

MISHARDS = "mishards"
NODE = "milvus-node"


def program(name: str) -> tuple[str, ...]:
    """The beginning of a command line that runs one of the product's programs."""
    folder = os.environ.get("MISHARDS_BIN", "")
    return (f"{folder}/{name}",) if folder else (sys.executable, "-m", name.replace("-", "_"))
