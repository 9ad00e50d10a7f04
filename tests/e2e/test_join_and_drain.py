"""Nodes come and go while clients search: nobody notices, and no search has to load anything."""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from harness.fleet import NAME, QUERIES, Fleet, RouterProcess
from harness.recorder import Recorder
from harness.servers import Server, node
from harness.waiting import eventually

WAIT_S = 30.0
CALM = {"health": {"probe_timeout_ms": 30_000, "patience_ms": 60_000}}
"""Nothing is taken for dead, however busy the machine is: then nobody loads what another holds."""


class Announced(Fleet):
    """A fleet whose nodes announce themselves in a folder."""

    @property
    def discovery(self) -> str:
        return (self._folder / "discovery").as_uri()

    def _node(self, role: str, number: int) -> Server:
        name = f"{role}{number}"
        flags = ["--metadata", self.metadata, "--discovery", self.discovery, "--name", name]
        return self._open.enter_context(node(self._folder, role=role, name=name, flags=flags))

    def add_router(self, name: str) -> RouterProcess:
        router = RouterProcess(self._folder, self.metadata, self.discovery, name, self._settings)
        self._open.enter_context(router).launch()
        return router

    def add_reader(self) -> Server:
        program = self._node("readonly", len(self.readers))
        program.launch()
        return program


def http_of(program: Server) -> str:
    return f"http://{program.command[program.command.index('--http-address') + 1]}"


def loads(program: Server) -> float:
    """How many segments a node has ever loaded."""
    text = httpx.get(f"{http_of(program)}/metrics", timeout=10).text
    found = re.search(r"^milvus_node_cache_loads_total (\S+)$", text, re.MULTILINE)
    assert found is not None, text
    return float(found[1])


def state(fleet: Announced, name: str) -> str:
    nodes = {entry["name"]: entry for entry in fleet.router.get("/status")["nodes"]}
    return str(nodes[name]["state"]) if name in nodes else ""


def test_a_node_that_joins_and_leaves_under_load_costs_no_search_and_loads_nothing_on_the_way(tmp_path: Path) -> None:
    with Announced(tmp_path, "ours", readers=1, settings=CALM) as fleet:
        fleet.fill(segments=8)
        with Recorder(fleet.router.address, NAME, fleet.truth, QUERIES) as recorder:
            recorder.wait_answers(10)
            joined = fleet.add_reader()
            eventually(lambda: state(fleet, "readonly1") == "ready", WAIT_S, joined.log_text)
            assert "a router has loaded what it will hold" in joined.log_text()
            warm = loads(joined)
            assert warm > 0
            fleet.assert_loaded_again("readonly1")
            recorder.wait_answers(20)
            assert loads(joined) == warm
            assert joined.terminate(30) == 0
            recorder.wait_answers(20)
            eventually(lambda: state(fleet, "readonly1") == "", WAIT_S, "it is withdrawn")
        recorder.assert_clean()
