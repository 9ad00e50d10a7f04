"""The tree names no machine, no account and no workplace."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FOREIGN = re.compile(
    # One letter of each stands in brackets, so that the pattern does not match itself.
    r"/[w]ork/(?:main|shared|client)|/[f]arm/|\.\./[s]hared/|/[h]ome/[a-z]+/"  # folders of one machine
    r"|[p]ypi\.org|[p]ythonhosted|[n]pmjs\.|deb\.[d]ebian\.org"  # hosts that a mirror may replace
    r"|[s]ubagent|[c]laude|[a]nthropic|[o]penai|[c]hatgpt|[c]opilot",  # tools, not authors
    re.IGNORECASE,
)


def test_nothing_in_the_tree_names_where_or_with_what_it_was_made() -> None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout: what belongs to the tree is unknown")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = []
    for name in filter(None, listed.split("\0")):
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        if b"\0" not in content[:8_000]:
            lines = content.decode("utf-8", errors="replace").splitlines()
            found += [f"{name}:{number}: {line}" for number, line in enumerate(lines, 1) if FOREIGN.search(line)]
    assert not found, "\n".join(found)
