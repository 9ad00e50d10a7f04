"""Look for known weaknesses: bandit in the code, pip-audit in what is installed. Ends with 1 where it finds one.

pip-audit asks a service for vulnerabilities. Where that cannot be reached, or knows none of the packages, this says so
and goes on: a build must be possible without it.
"""

# ruff: noqa: T201 - a program for a terminal

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("mishards", "milvus_node", "plugins/mishards_plugins", "scripts")
IGNORED: Mapping[str, str] = {}
"""Vulnerabilities that are passed over: id → why it does not concern us."""

_ANSWER_S = 300


def main() -> int:
    """Run both; return the exit code."""
    bandit = subprocess.run([sys.executable, "-m", "bandit", "-q", "-c", "pyproject.toml", "-r", *SOURCES], cwd=ROOT)  # noqa: S603 - our own arguments
    return 1 if bandit.returncode or not _packages_are_sound() else 0


def _packages_are_sound() -> bool:
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--skip-editable"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_ANSWER_S)  # noqa: S603 - as above
        report = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError) as error:
        print(f"pip-audit: NOT AUDITED, the service gave no answer ({type(error).__name__}); going on")
        return True
    return judged(report["dependencies"])


def judged(packages: list[dict[str, Any]]) -> bool:
    """Print what pip-audit found; is there nothing but what is ignored?"""
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    found = [(package, weakness) for package in packages for weakness in package.get("vulns", ())]
    grave = [(package, weakness) for package, weakness in found if weakness["id"] not in IGNORED]
    for package, weakness in grave:
        fixes = ", ".join(weakness["fix_versions"]) or "no version yet"
        print(f"pip-audit: {package['name']} {package['version']} has {weakness['id']}, fixed in {fixes}")
    if len(unknown) == len(packages):
        print("pip-audit: NOT AUDITED, the service knows none of the packages; going on")
    else:
        known = len(packages) - len(unknown)
        print(f"pip-audit: {known} packages audited, {len(unknown)} not known, {len(grave)} findings")
    return not grave


if __name__ == "__main__":
    sys.exit(main())
