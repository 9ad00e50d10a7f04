"""The report of all that was measured: the page beside the results, and the table for the repository."""

from __future__ import annotations

from pathlib import Path

from page import page
from results import read
from table import document

SUITE = ("hop", "fanout", "merge", "scale", "replicas", "hedging", "node", "routed", "insert")
"""In the order of the report."""
ASKED_FOR = ("peers", "transport")
"""Installs other servers; has no goals."""
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def write_report(folder: Path, described: Path | None) -> None:
    """Write ``index.html`` into the folder of the results, and the table, unless it would say tiny figures."""
    reports = read(folder, [*SUITE, *ASKED_FOR])
    (folder / "index.html").write_text(page(reports, sorted(folder.glob("profile-*.svg"))), encoding="utf-8")
    print(f"== {folder / 'index.html'}")
    if described and all(not report.tiny for report in reports):
        described.write_text(document(reports), encoding="utf-8")
        print(f"== {described}")
