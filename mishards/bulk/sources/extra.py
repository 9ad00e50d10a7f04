"""The libraries of some formats, which are installed only where they are wanted."""

from __future__ import annotations

import importlib
from typing import Any

from mishards.errors import SourceError


def needed(module: str) -> Any:
    """Import a module of an optional library.

    Raises:
        SourceError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        raise SourceError(
            f"this format needs {library}, which is not installed: pip install 'mishards[import]'"
        ) from error
