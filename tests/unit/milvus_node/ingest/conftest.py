"""The write path of one test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.write_path import OpenWritePath, WritePath


@pytest.fixture
def open_node(tmp_path: Path) -> Iterator[OpenWritePath]:
    """Open the write path on this test's folder; an earlier one is ended as if its process had crashed."""
    opened: list[WritePath] = []

    def open_again(**options: Any) -> WritePath:
        if opened:
            opened.pop().close()
        opened.append(WritePath(tmp_path / "storage", **options))
        return opened[-1]

    yield open_again
    for node in opened:
        node.close()


@pytest.fixture
def node(open_node: OpenWritePath) -> WritePath:
    """The write path on an empty folder."""
    return open_node()
