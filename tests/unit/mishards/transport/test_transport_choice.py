from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys

import pytest

from mishards.errors import ConfigError
from mishards.transport.choice import TRANSPORTS, transport_of
from mishards.transport.loop import run_on


def test_every_transport_has_its_name() -> None:
    assert [type(transport_of(name)).__name__ for name in TRANSPORTS] == ["H2Transport", "GrpcioTransport"]


def test_what_is_not_chosen_is_not_imported() -> None:
    choose = "from mishards.transport.choice import transport_of; transport_of('h2')"
    command = [sys.executable, "-c", f"import sys; {choose}; print('grpc' in sys.modules)"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


async def loop_name() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


def test_a_program_runs_on_the_loop_that_it_was_told() -> None:
    assert run_on("asyncio", loop_name()) == "asyncio"


def test_auto_is_uvloop_where_it_is_installed() -> None:
    pytest.importorskip("uvloop")
    assert run_on("uvloop", loop_name()) == run_on("auto", loop_name()) == "uvloop"


def test_without_uvloop_auto_is_asyncio_and_asking_for_it_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run_on("auto", loop_name()) == "asyncio"
    with pytest.raises(ConfigError, match="not installed"):
        run_on("uvloop", loop_name())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_children_can_be_started_and_awaited_on_either_loop(loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")

    async def child() -> int:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(7)")
        return await asyncio.wait_for(process.wait(), 30)

    assert run_on(loop, child()) == 7
