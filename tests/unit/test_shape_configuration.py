"""The reference of all settings is what the generator makes of the classes of options."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from milvus_node.config import RELOADABLE as NODE_RELOADABLE
from milvus_node.config import NodeOptions
from mishards.config import FIRST_NAMES, RouterOptions
from mishards.config import RELOADABLE as ROUTER_RELOADABLE
from mishards.options import settings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "configuration.md"


def test_the_reference_of_settings_is_fresh(tmp_path: Path) -> None:
    fresh = tmp_path / "configuration.md"
    subprocess.run([sys.executable, ROOT / "scripts" / "generate_configuration.py", fresh], check=True, cwd=ROOT)
    assert DOCUMENT.read_text(encoding="utf-8") == fresh.read_text(encoding="utf-8"), "run `make configuration`"


def test_every_setting_has_a_line_and_those_that_reload_are_marked() -> None:
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    router, _, node = "\n".join(lines).partition("## Node")
    for text, schema, reloadable in ((router, RouterOptions, ROUTER_RELOADABLE), (node, NodeOptions, NODE_RELOADABLE)):
        keys = {setting.key for setting in settings(schema)}
        assert reloadable <= keys
        assert set(FIRST_NAMES.values()) <= keys or schema is NodeOptions
        for key in keys:
            assert f"| `{key}`{' ↻' if key in reloadable else ''} | " in text
