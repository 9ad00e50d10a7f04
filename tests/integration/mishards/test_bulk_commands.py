"""The commands for bulk data, in this process, before a real node: files, exit codes, JSON.

``ROWS=1000000`` in the environment makes the measurement of memory that long.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from harness.processes import server_folder
from harness.rpc import Rpc, params, records
from harness.servers import Server, node
from harness.vectors import gaussian
from mishards.bulk import export, parts
from mishards.bulk.parts import held
from mishards.cli import main

VECTORS = gaussian(500, 8)
L2, IP, HAMMING = 1, 2, 3


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with server_folder("bulk") as folder, node(folder) as running:
        running.launch()
        yield running


@pytest.fixture
def rpc(server: Server) -> Iterator[Rpc]:
    with Rpc(server.address) as found:
        yield found


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A collection's name that no other test has."""
    return "c" + "".join(letter for letter in request.node.name if letter.isalnum())[-60:]


@pytest.fixture
def run(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command in the test's folder."""
    monkeypatch.chdir(tmp_path)

    def run_command(command: str, *arguments: str) -> Result:
        return CliRunner().invoke(main, [command, *arguments, "--address", server.address])

    return run_command


def done(result: Result, code: int = 0) -> dict[str, Any]:
    """The JSON that a command printed, which ended with this code."""
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def rows_in(path: Path) -> dict[int, list[float]]:
    with np.load(path) as found:
        assert len(set(found["ids"].tolist())) == len(found["ids"])
        return dict(zip(found["ids"].tolist(), found["vectors"].tolist(), strict=True))


def test_an_import_creates_counts_and_is_not_done_twice(run: Any, rpc: Rpc, name: str, tmp_path: Path) -> None:
    np.savez("x.npz", vectors=VECTORS, ids=np.arange(1000, 1500))
    command = ("import", "x.npz", name, "--create", "--metric", "ip", "--index-file-size", "32", "--ids", "ids")
    first = done(run(*command, "--partition", "red", "--json"))
    assert (first["rows"], first["rows_before"], first["rows_after"], first["finished"]) == (500, 0, 500, True)
    again = run(*command, "--partition", "red")
    assert (again.exit_code, again.output.partition(",")[0]) == (0, "500 rows were loaded already")
    schema = rpc.call("DescribeCollection", collection_name=name)
    assert (schema.dimension, schema.metric_type, schema.index_file_size) == (8, IP, 32)
    assert done(run("export", name, "out.npz", "--partition", "red", "--json"))["rows"] == 500
    assert rows_in(tmp_path / "out.npz") == dict(zip(range(1000, 1500), VECTORS.tolist(), strict=True))
    rpc.call("DropCollection", collection_name=name)
    result = run(*command, "--partition", "red")
    assert (result.exit_code, "has 0 rows, but 500 were loaded" in result.output) == (1, True)
    assert done(run(*command, "--partition", "red", "--again", "--json"))["rows_after"] == 500


def test_rows_are_numbered_from_where_one_says(run: Any, name: str, tmp_path: Path) -> None:
    np.save("x.npy", VECTORS)
    assert run("import", "x.npy", name).exit_code == 1
    assert run("import", "x.npy", name, "--create").exit_code == 0
    Path("y.fvecs").write_bytes(b"".join(np.int32(8).tobytes() + row.tobytes() for row in VECTORS[:9]))
    result = run("import", "y.fvecs", name, "--json")
    assert "has 500 rows, whose ids may be the same" in done(result, 1)["error"]
    assert done(run("import", "y.fvecs", name, "--first-id", "500", "--json"))["rows_after"] == 509
    assert "first_id differ" in run("import", "y.fvecs", name, "--first-id", "600").output
    assert "no partition 'red'" in run("import", "y.fvecs", name, "--partition", "red").output
    done(run("export", name, "out.npz", "--json"))
    assert sorted(rows_in(tmp_path / "out.npz")) == list(range(509))


def test_bad_rows_end_an_import_or_are_listed(run: Any, name: str, tmp_path: Path) -> None:
    lines = [json.dumps({"id": 7 * row, "vector": VECTORS[row].tolist()}) for row in range(20)]
    lines[3], lines[11] = '{"id": 21, "vector": [1]}', "nonsense"
    Path("x.jsonl").write_text("\n".join(lines), encoding="utf-8")
    command = ("import", "x.jsonl", name, "--create", "--ids", "id", "--batch-rows", "4")
    result = run(*command)
    assert (result.exit_code, "x.jsonl, row 3: line 4: it has 1 values" in result.output) == (1, True)
    found = done(run(*command, "--skip-bad", "--bad-rows", "bad.jsonl", "--json"), 3)
    assert (found["rows"], found["bad_rows"], found["rows_after"]) == (18, 2, 18)
    assert [json.loads(line)["row"] for line in Path("bad.jsonl").read_text(encoding="utf-8").splitlines()] == [3, 11]


@pytest.mark.parametrize("ending", ["npy", "fvecs", "hdf5", "parquet", "csv", "jsonl"])
def test_what_is_exported_can_be_imported(ending: str, run: Any, name: str, tmp_path: Path) -> None:
    if library := {"hdf5": "h5py", "parquet": "pyarrow"}.get(ending):
        pytest.importorskip(library)
    np.savez("x.npz", vectors=VECTORS, ids=np.arange(500) * 3)
    done(run("import", "x.npz", name, "--create", "--ids", "ids", "--json"))
    assert done(run("export", name, f"y.{ending}", "--json"))["rows"] == 500
    ids = {"npy": "y.ids.npy", "fvecs": "y.ids.npy", "hdf5": "ids"}.get(ending, "id")
    done(run("import", f"y.{ending}", f"{name}2", "--create", "--ids", ids, "--json"))
    done(run("export", f"{name}2", "z.npz", "--json"))
    assert rows_in(tmp_path / "z.npz") == dict(zip(range(0, 1500, 3), VECTORS.tolist(), strict=True))


def fill(rpc: Rpc, name: str) -> None:
    """A collection with a partition and an index."""
    rpc.call("CreateCollection", collection_name=name, dimension=8, metric_type=L2, index_file_size=64)
    rpc.call("CreatePartition", collection_name=name, tag="red, or so")
    for tag, rows in (("", range(300)), ("red, or so", range(300, 500))):
        rpc.call(
            "Insert",
            collection_name=name,
            row_record_array=records(VECTORS[rows.start : rows.stop]),
            row_id_array=rows,
            partition_tag=tag,
        )
    rpc.call("CreateIndex", collection_name=name, index_type=2, extra_params=params('{"nlist": 5}'))


def test_a_restored_backup_has_rows_partitions_and_index(run: Any, rpc: Rpc, name: str, tmp_path: Path) -> None:
    fill(rpc, name)
    made = done(run("backup", name, "b", "--part-rows", "120", "--json"))
    assert (made["rows"], made["parts"], made["finished"]) == (500, 5, True)
    assert "holds a whole backup" in run("backup", name, "b").output
    assert "there is a collection" in run("restore", "b").output
    found = done(run("restore", "b", "--as", f"{name}2", "--batch-rows", "50", "--json"))
    assert (found["rows"], found["rows_after"]) == (500, 500)
    assert "loaded already" in run("restore", "b", "--as", f"{name}2", "--batch-rows", "50").output
    for wanted, part in (((0, 300), "_default"), ((300, 500), "red, or so")):
        done(run("export", f"{name}2", "out.npz", "--partition", part, "--json"))
        assert rows_in(tmp_path / "out.npz") == {row: VECTORS[row].tolist() for row in range(*wanted)}
    index = rpc.call("DescribeIndex", collection_name=f"{name}2")
    assert (index.index_type, json.loads(index.extra_params[0].value)) == (2, {"nlist": 5})


def test_a_damaged_backup_is_refused_before_anything_is_inserted(run: Any, rpc: Rpc, name: str) -> None:
    fill(rpc, name)
    done(run("backup", name, "b", "--part-rows", "200", "--json"))
    random = np.random.default_rng(1)
    for path in sorted(Path("b").iterdir()):
        content = path.read_bytes()
        spoiled = bytearray(content)
        spoiled[random.integers(len(spoiled))] ^= 1 << random.integers(8)
        path.write_bytes(spoiled)
        result = run("restore", "b", "--as", f"{name}2")
        assert (result.exit_code, path.name in result.output) == (1, True), result.output
        path.unlink()
        assert run("restore", "b", "--as", f"{name}2").exit_code == 1
        path.write_bytes(content)
    assert not rpc.call("HasCollection", collection_name=f"{name}2").bool_reply


def test_a_backup_that_was_interrupted_goes_on_behind_its_last_part(
    run: Any, rpc: Rpc, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(rpc, name)
    real, left = parts._write_part, [2]

    def dies(*arguments: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OSError("the disk is full")
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(parts, "_write_part", dies)
        result = run("backup", name, "b", "--part-rows", "120")
        assert (result.exit_code, "the disk is full" in result.output) == (1, True)
    assert "was not finished" in run("restore", "b").output
    written = (tmp_path / "b" / "part-00000.npz").stat().st_mtime_ns
    rpc.call("DeleteByID", collection_name=name, id_array=[499])
    rpc.call("Flush", collection_name_array=[name])
    found = done(run("backup", name, "b", "--json"))
    assert (found["rows"], found["gone"], found["parts"]) == (499, 1, 5)
    assert (tmp_path / "b" / "part-00000.npz").stat().st_mtime_ns == written
    assert done(run("restore", "b", "--as", f"{name}2", "--json"))["rows_after"] == 499
    assert "is not empty and holds no backup" in run("backup", name, ".").output
    assert "of another collection" not in run("restore", "b").output


def test_ctrl_c_ends_a_backup_behind_a_whole_part(
    run: Any, rpc: Rpc, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(rpc, name)
    real, signals = parts._write_part, [signal.SIGINT]

    def interrupted(*arguments: Any) -> Any:
        while signals:  # once: a second one would end it at once
            os.kill(os.getpid(), signals.pop())
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(parts, "_write_part", interrupted)
        found = done(run("backup", name, "b", "--part-rows", "30", "--json"), 130)
    assert (found["finished"], found["parts"] < 17, found["rows"]) == (False, True, 30 * found["parts"])
    assert done(run("backup", name, "b", "--json"))["rows"] == 500
    assert done(run("restore", "b", "--as", f"{name}2", "--json"))["rows_after"] == 500


@pytest.mark.parametrize("when", ["fetching", "writing"])
def test_an_export_that_was_interrupted_goes_on_behind_its_last_part(
    run: Any, rpc: Rpc, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    fill(rpc, name)
    folder = tmp_path / ".x.npz.export"
    module, step = (parts, "_write_part") if when == "fetching" else (export, "_append")
    real, signals = getattr(module, step), [signal.SIGINT]

    def interrupted(*arguments: Any) -> Any:
        while signals:  # once: a second one would end it at once
            os.kill(os.getpid(), signals.pop())
        return real(*arguments)

    monkeypatch.setattr("mishards.bulk.parts._PART_BYTES", 30 * 8 * 4)
    with monkeypatch.context() as patched:
        patched.setattr(module, step, interrupted)
        found = done(run("export", name, "x.npz", "--json"), 130)
    kept = {path.name for path in folder.glob("part-*")}
    assert (found["finished"], found["files"], 30 * len(kept) >= found["rows"] > 0) == (False, [], True)
    assert list(tmp_path.iterdir()) == [folder]
    assert (
        "the beginning of another export, of partitions all of"
        in run("export", name, "x.npz", "--partition", "_default").output
    )
    with held(folder):
        assert "is in use by another process" in run("export", name, "x.npz").output
    rewritten = []

    def noted(to: Path, number: int, *arguments: Any) -> Any:
        rewritten.append(f"part-{number:05}.npz")
        return write_part(to, number, *arguments)

    write_part = parts._write_part
    monkeypatch.setattr(parts, "_write_part", noted)
    result = run("export", name, "x.npz")
    assert (result.exit_code, "going on with an earlier export" in result.output) == (0, True), result.output
    assert not kept & set(rewritten)
    assert rows_in(tmp_path / "x.npz") == dict(enumerate(VECTORS.tolist()))
    assert list(tmp_path.iterdir()) == [tmp_path / "x.npz"]


def test_an_export_that_cannot_begin_leaves_nothing_behind(run: Any, rpc: Rpc, name: str, tmp_path: Path) -> None:
    fill(rpc, name)
    for arguments in ((name, "x.npz", "--partition", "blue"), (name, "x.bvecs"), (name, "x.doc"), ("absent", "x.npz")):
        assert run("export", *arguments).exit_code == 1
    assert not list(tmp_path.iterdir())


def test_binary_vectors_travel_too(run: Any, rpc: Rpc, name: str) -> None:
    vectors = np.random.default_rng(0).integers(0, 256, (40, 2)).astype(np.uint8)
    np.save("x.npy", vectors)
    done(run("import", "x.npy", name, "--create", "--metric", "HAMMING", "--json"))
    schema = rpc.call("DescribeCollection", collection_name=name)
    assert (schema.dimension, schema.metric_type) == (16, HAMMING)
    done(run("backup", name, "b", "--json"))
    done(run("restore", "b", "--as", f"{name}2", "--json"))
    for ending in ("bvecs", "npy", "csv"):
        assert done(run("export", f"{name}2", f"y.{ending}", "--json"))["rows"] == 40
    rows = np.frombuffer(Path("y.bvecs").read_bytes(), np.uint8).reshape(40, 6)[:, 4:]
    assert rows[np.argsort(np.load("y.ids.npy"))].tolist() == vectors.tolist()
    assert done(run("bench", name, "--duration", "0.2", "--json"))["calls"] > 0
    assert run("bench", name, "--duration", "0.2", "--recall", "3").exit_code == 1


def test_ids_that_are_not_unique_are_said(run: Any, rpc: Rpc, name: str) -> None:
    rpc.call("CreateCollection", collection_name=name, dimension=8, metric_type=L2, index_file_size=64)
    rpc.call("Insert", collection_name=name, row_record_array=records(VECTORS[:3]), row_id_array=[1, 2, 1])
    assert done(run("export", name, "x.npz", "--json"), 3)["repeated_ids"] == 1
    result = run("backup", name, "b")
    assert (result.exit_code, "1 rows have the id of another row" in result.output) == (3, True)


def test_a_benchmark_tells_rates_times_and_recall(run: Any, rpc: Rpc, name: str) -> None:
    fill(rpc, name)
    found = done(
        run(
            "bench",
            name,
            "--duration",
            "0.5",
            "--clients",
            "2",
            "--nq",
            "3",
            "--recall",
            "20",
            "--params",
            '{"nprobe": 5}',
            "--json",
        )
    )
    assert (found["errors"], found["recall"]) == (0, 1.0)
    assert found["calls"] > 0
    assert found["queries_per_s"] == pytest.approx(3 * found["calls_per_s"])
    assert found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"] <= found["max_ms"]
    shown = run("bench", name, "--duration", "0.2", "--params", '{"nprobe": 5}').output
    assert [line.split()[0] for line in shown.splitlines()[:3]] == ["MEASURE", "seconds", "calls"]
    assert "nprobe" in run("bench", name, "--duration", "0.2").output, "what the node refuses is said at once"
    assert run("bench", name, "--params", "[]").exit_code == 2


@pytest.mark.parametrize("command", [("export", "absent", "x.npz"), ("backup", "absent", "b"), ("bench", "absent")])
def test_a_collection_that_is_not_there_is_one_line(command: tuple[str, ...], run: Any) -> None:
    result = run(*command)
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "Collection absent does not exist" in result.output
    assert not Path("x.npz").exists()


def test_no_server_is_one_line_and_arguments_that_cannot_be_are_a_usage_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["export", "c", str(tmp_path / "x.npz"), "--address", "127.0.0.1:1", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["exit_code"] == 1
    assert CliRunner().invoke(main, ["import", "x.npy"]).exit_code == 2
    assert CliRunner().invoke(main, ["restore", str(tmp_path / "absent")]).exit_code == 2


_PEAK = """
import resource, sys
from mishards.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    raise
"""


def test_memory_does_not_grow_with_the_file(server: Server, name: str, tmp_path: Path) -> None:
    def peak_kib(rows: int) -> int:
        np.lib.format.open_memmap(tmp_path / f"{rows}.npy", "w+", np.float32, (rows, 128)).flush()
        command = ["import", f"{rows}.npy", f"{name}{rows}", "--create", "--batch-rows", "2000", "--address"]
        ran = subprocess.run(
            [sys.executable, "-c", _PEAK, *command, server.address], cwd=tmp_path, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        return int(ran.stdout.splitlines()[-1])

    rows = int(os.environ.get("ROWS", "100000"))
    assert peak_kib(rows) - peak_kib(10_000) < rows * 512 / 1024 / 2, "less than half of what the file grew by"
