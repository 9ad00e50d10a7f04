"""What scripts and shells rely on: JSON, exit codes, help with an example, completion."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mishards.cli import main, output
from mishards.cli.output import table
from mishards.errors import ServerRefused

NODE = {
    "name": "w",
    "address": "h:1",
    "role": "writable",
    "state": "ready",
    "health": "up",
    "reason": "",
    "outstanding": 0,
    "latency_ms": 1.25,
}
HEALTHY: dict[str, Any] = {
    "writer": "w",
    "searchers": ["w"],
    "nodes": [NODE],
    "catalog": {"version": 4, "age_ms": 12, "error": None},
}
SICK = [
    {"writer": None},
    {"searchers": []},
    {"nodes": [{**NODE, "health": "down"}]},
    {"nodes": [NODE, {**NODE, "name": "x", "state": "absent"}]},
    {"catalog": {"version": 4, "age_ms": 12, "error": "away"}},
]
PLAN = {
    "replicas": 1,
    "segments": [
        {"segment_id": "1", "partition": "p", "rows": 5, "indexed": False, "nodes": ["a"], "spares": [], "asked": "a"}
    ],
}
PRINTING = ("backup", "bench", "check-config", "explain", "export", "import", "plugins", "restore", "status")
SHELLS = {"bash": ["-n"], "zsh": ["-n"], "fish": ["--no-execute"]}


def answer(monkeypatch: pytest.MonkeyPatch, seen: object) -> None:
    monkeypatch.setattr("mishards.cli.observe.asked", lambda _http, _path: seen)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_has_an_example_in_its_help(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    examples = [line for line in result.output.splitlines() if line.startswith(f"    mishards {name}")]
    assert examples, result.output


@pytest.mark.parametrize("name", PRINTING)
def test_every_command_that_prints_can_print_json(name: str) -> None:
    assert "--json" in run(name, "--help").output


def test_the_help_lists_the_exit_codes() -> None:
    for code in ("0    done", "1    failed", "2    the arguments", "3    done in part", "130  interrupted"):
        assert code in run("--help").output


def test_a_healthy_cluster_is_exit_code_0_and_a_sick_one_3(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, HEALTHY)
    assert run("status").exit_code == 0
    assert json.loads(run("status", "--json").output) == HEALTHY
    for change in SICK:
        answer(monkeypatch, {**HEALTHY, **change})
        assert run("status").exit_code == 3
        assert run("status", "--json").exit_code == 3


def test_a_segment_that_nobody_can_search_is_exit_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, PLAN)
    assert run("explain", "c").exit_code == 0
    (segment,) = PLAN["segments"]  # type: ignore[misc]  # a dictionary of several types
    answer(monkeypatch, {**PLAN, "segments": [{**segment, "asked": None}]})
    result = run("explain", "c")
    assert (result.exit_code, "nobody" in result.output) == (3, True)


def test_a_failure_with_json_is_json_too() -> None:
    result = run("status", "--http", "127.0.0.1:1", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["exit_code"] == 1
    assert found["error"].startswith("no router answers at http://127.0.0.1:1")
    assert result.stderr.startswith("mishards status: no router answers")


def test_settings_and_plugins_are_lists_of_objects(tmp_path: Path) -> None:
    flags = ("--metadata", "sqlite:///x", "--discovery", "static://?writable=h:1")
    settings = json.loads(run("check-config", *flags, "--json").output)
    assert {"key": "discovery.uri", "value": flags[3], "source": "flag --discovery"} in settings
    plugins = json.loads(run("plugins", "--json").output)
    assert {"group", "name", "target", "distribution", "problem"} == plugins[0].keys()
    assert "consistent_hash" in [plugin["name"] for plugin in plugins]


def test_arguments_that_cannot_be_used_are_exit_code_2() -> None:
    for arguments in (("status", "extra"), ("bench", "c", "--k", "0"), ("absent",), ("completion", "tcsh")):
        assert run(*arguments).exit_code == 2


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_scripts_are_valid_and_call_the_program(shell: str, tmp_path: Path) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_MISHARDS_COMPLETE" in result.output
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(result.output, encoding="utf-8")
    subprocess.run([shell, *SHELLS[shell], tmp_path / "script"], check=True)


def test_commands_and_options_are_completed() -> None:
    def completed(words: str, at: int) -> str:
        environment = {"_MISHARDS_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)}
        return CliRunner(env=environment).invoke(main, [], prog_name="mishards").output

    assert completed("mishards e", 1).split() == ["plain,explain", "plain,export"]
    assert "plain,--skip-bad" in completed("mishards import f c --sk", 4)


def test_a_tables_numbers_stand_right_and_its_lines_have_no_blank_end() -> None:
    assert table(("NAME", "ROWS", "MS"), [("a", 1_000_000, 0.5), ("bcdef", 7, 12.345)]) == [
        "NAME        ROWS     MS",
        "a      1,000,000   0.50",
        "bcdef          7  12.35",
    ]
    assert table(("A", "B"), []) == ["A  B"]


def test_an_answer_that_is_no_json_is_no_router(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("no JSON")

    monkeypatch.setattr(output.json, "load", refuse)
    with pytest.raises(ServerRefused, match="no router answers"):
        output.asked("127.0.0.1:1", "/status")


def test_the_second_ctrl_c_is_exit_code_130(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mishards.cli.bulk.run_bulk", interrupt)
    assert run("export", "c", str(tmp_path / "x.npy")).exit_code == 130
    assert isinstance(main, click.Group)
