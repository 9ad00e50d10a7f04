from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mishards.errors import StartError
from mishards.logs.options import LogFormat, LogOptions
from mishards.logs.output import Facts, JsonFormatter, set_up

log = logging.getLogger("test.output")


@contextmanager
def logging_to(options: LogOptions) -> Iterator[None]:
    """Set up the log on a root logger without handlers, as a program finds it; it is as before after the block."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    logger.handlers[:] = []
    try:
        set_up(options)
        yield
    finally:
        for handler in logger.handlers:
            handler.close()
        logger.handlers[:] = handlers
        logger.setLevel(level)


def test_text_goes_to_stderr_unless_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(LogOptions()):
        log.debug("not shown")
        log.info("rpc %s", Facts({"collection": "a", "ms": 1.23456, "reason": "it's\nbad"}))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith(' level=INFO logger=test.output rpc collection=a ms=1.23 reason="it\'s\\nbad"\n')
    assert err.count("\n") == 1


def test_json_is_one_object_a_line_with_the_facts_as_members(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(LogOptions(format=LogFormat.JSON, file="-")):
        log.info("rpc %s", Facts({"collection": "a b", "nq": 2, "ms": 1.23456}))
        log.warning("node %s is gone", "n-1")
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "info",
        "logger": "test.output",
        "message": "rpc",
        "collection": "a b",
        "nq": 2,
        "ms": 1.235,
    }
    assert (second["level"], second["message"]) == ("warning", "node n-1 is gone")


def test_an_exception_stays_within_its_json_line() -> None:
    try:
        raise ValueError("bad")
    except ValueError:
        record = log.makeRecord("n", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("ValueError: bad")


def test_a_file_is_rotated_and_only_so_many_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "router.log"
    with logging_to(LogOptions(file=str(path), file_bytes=1024, files_kept=2)):
        for _ in range(100):
            log.info("x" * 100)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["router.log", "router.log.1", "router.log.2"]
    assert all(found.stat().st_size <= 1024 for found in tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "x.log"
    with (
        pytest.raises(StartError, match=r"cannot write the log .*absent/x\.log: No such file or directory"),
        logging_to(LogOptions(file=str(path))),
    ):
        pass
