"""What documents say is tested is tested."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def names_below(folder: Path) -> set[str]:
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found.add(node.name)
    return found


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "tests/README.md"])
def test_every_test_that_a_document_names_exists(document: str) -> None:
    rows = [line for line in (ROOT / document).read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", "\n".join(rows)))
    assert len(named) > 10
    assert named <= names_below(ROOT / "tests") | names_below(ROOT / "mishards" / "testing")
