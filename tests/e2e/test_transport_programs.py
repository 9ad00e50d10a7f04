"""Both programs run on either transport and either event loop, serve the unmodified client, and stop as they should."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.client import RemoteClient
from harness.ports import free_port
from harness.programs import MISHARDS, program
from harness.servers import Server, node
from harness.vectors import gaussian

DIM = 16
ROWS = gaussian(50, DIM)


def configured(folder: Path, name: str, settings: object) -> list[str]:
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return ["--config", str(path)]


@pytest.mark.parametrize(("transport", "loop"), [("grpcio", "asyncio"), ("h2", "uvloop")])
def test_the_unmodified_client_finds_its_rows_and_the_programs_end_well(
    transport: str, loop: str, tmp_path: Path, connect: Callable[..., RemoteClient]
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    (tmp_path / "data").mkdir()
    with node(tmp_path, flags=configured(tmp_path, "node", {"transport": transport, "loop": loop})) as writable:
        writable.launch()
        settings = {"network": {"transport": transport, "loop": loop, "drain_ms": 500}}
        command = [*program(MISHARDS), "serve", *configured(tmp_path, "router", settings)]
        command += ["--address", f"127.0.0.1:{free_port()}", "--http-address", f"127.0.0.1:{free_port()}"]
        command += ["--metadata", f"sqlite:///{tmp_path}/data/meta.sqlite"]
        command += ["--discovery", f"static://?writable={writable.address}"]
        with Server("router", command, tmp_path) as router:
            router.launch()
            client = connect(router.address)
            param = {"collection_name": "c", "dimension": DIM, "index_file_size": 64, "metric_type": 1}
            assert client.call("create_collection", param=param).code == 0
            assert client.call("insert", collection_name="c", records=ROWS, ids=list(range(50))).ok
            assert client.call("flush", collection_name_array=["c"]).ok
            found = client.call("search", collection_name="c", top_k=1, query_records=ROWS[:3], params={})
            assert found.value.ids == [[0], [1], [2]]
            assert router.terminate() == 0
        assert writable.terminate() == 0
