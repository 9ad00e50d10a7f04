"""Programs that check files, from the environment of development; without one its tests are skipped, but not in CI."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest


def developer_tool(name: str) -> Path:
    """Where a tool is installed: beside this interpreter, or on the path.

    Raises:
        pytest.skip.Exception: it is not installed; in CI, pytest.fail.Exception.
    """
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if found:
        return Path(found)
    message = f"{name} is not installed; make test does that"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
