"""SIGHUP has real programs read their settings again."""

from __future__ import annotations

import signal
from pathlib import Path

from harness.fleet import RouterProcess
from harness.processes import Program
from harness.servers import node
from harness.waiting import eventually


def says(program: Program, text: str) -> None:
    eventually(lambda: text in program.log_text(), 30, lambda: f"{program.name} says {text!r}:\n{program.log_tail()}")


def test_router_and_node_take_what_they_can_and_name_what_needs_a_restart(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    settings = tmp_path / "node.yaml"
    settings.write_text("cache:\n  cache_size_bytes: 64MB\n")
    with node(tmp_path, flags=["--config", str(settings)]) as writable:
        writable.launch()
        settings.write_text("cache:\n  cache_size_bytes: 128MB\nlog:\n  level: debug\n")
        writable.signal(signal.SIGHUP)
        says(writable, f"setting changed cache.cache_size_bytes: {64 << 20} → {128 << 20} ({settings}:2)")
        says(writable, "setting changed log.level: info → debug")
        discovery = f"static://?writable={writable.address}"
        uri = f"sqlite:///{tmp_path / 'data' / 'meta.sqlite'}"
        with RouterProcess(tmp_path, uri, discovery, "router", {}) as router:
            router.launch()
            file = tmp_path / "router.yaml"
            file.write_text("search:\n  max_results: 5\nmetadata:\n  refresh_ms: 100\n")
            router.signal(signal.SIGHUP)
            says(router, f"setting changed search.max_results: 0 → 5 ({file}:2)")
            says(router, f"setting changed, needs a restart metadata.refresh_ms: 200 → 100 ({file}:4)")
            file.write_text("serach:\n  max_results: 5\n")
            router.signal(signal.SIGHUP)
            says(router, "settings are not read again, nothing changes: unknown setting serach")
            assert router.terminate() == 0
