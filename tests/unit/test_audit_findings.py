"""What the audit makes of pip-audit's report: real findings fail, a service that knows nothing does not."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

WEAK = {"name": "weak", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}
SOUND = {"name": "sound", "version": "1.0", "vulns": []}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found"}


@pytest.fixture
def audit() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "scripts" / "audit.py"
    spec = importlib.util.spec_from_file_location("audit", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_weak_package_fails_the_audit_and_is_named(audit: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert not audit.judged([SOUND, WEAK, UNKNOWN])
    assert "weak 1.0 has CVE-1, fixed in 1.1" in capsys.readouterr().out


def test_what_is_ignored_for_a_reason_does_not(audit: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "IGNORED", {"CVE-1": "we do not call it"})
    assert audit.judged([SOUND, WEAK])


def test_a_service_that_knows_nothing_is_named_and_passed_over(
    audit: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.judged([UNKNOWN, UNKNOWN])
    assert "NOT AUDITED" in capsys.readouterr().out


def test_every_reason_to_ignore_something_is_given(audit: ModuleType) -> None:
    assert all(len(reason) > 10 for reason in audit.IGNORED.values())
