"""The generated code is what the generator makes of the ``.proto`` files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROTOS = Path("mishards/wire/protos")


def test_the_protocols_code_is_fresh(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    subprocess.run([sys.executable, ROOT / "scripts" / "generate_protos.py", tmp_path], check=True, cwd=ROOT)
    fresh = {path.name: path.read_bytes() for path in (tmp_path / PROTOS).iterdir()}
    committed = {path.name: path.read_bytes() for path in (ROOT / PROTOS).glob("*_pb2*.py*")}
    assert committed == fresh, "run `make protos`"
