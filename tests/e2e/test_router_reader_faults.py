"""A read-only node is killed, frozen, cut off or breaks connections under load: no search fails, no answer is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.fleet import KINDS, NAME, QUERIES, Fleet, Reader
from harness.recorder import Recorder


@dataclass(frozen=True)
class Fault:
    """How a node goes away, and how it comes back."""

    strike: Callable[[Reader], object]
    heal: Callable[[Reader], object]


FAULTS = {
    "killed": Fault(lambda reader: reader.program.kill(), lambda reader: reader.program.launch()),
    "frozen": Fault(lambda reader: reader.program.pause(), lambda reader: reader.program.resume()),
    "cut off": Fault(lambda reader: reader.proxy.freeze(), lambda reader: reader.proxy.heal()),
    "resetting": Fault(lambda reader: reader.proxy.reset(), lambda reader: reader.proxy.heal()),
}


@pytest.fixture(scope="module", params=[(kind, replicas) for kind in KINDS for replicas in (2, 1)], ids=str)
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """All readers are well when a test begins, and when it has ended."""
    kind, replicas = request.param
    with Fleet(tmp_path_factory.mktemp("fleet"), kind, settings={"routing": {"replicas": replicas}}) as made:
        made.fill()
        yield made


@pytest.mark.parametrize("fault", FAULTS)
def test_a_reader_that_goes_away_under_load_fails_no_search_and_gets_load_again(fleet: Fleet, fault: str) -> None:
    reader = fleet.holder()
    with Recorder(fleet.router.address, NAME, fleet.truth, QUERIES) as recorder:
        recorder.wait_answers(20)
        FAULTS[fault].strike(reader)
        try:
            recorder.wait_answers(40)
        finally:
            FAULTS[fault].heal(reader)
        fleet.assert_loaded_again(reader.name)
        recorder.wait_answers(20)
    recorder.assert_clean()


@pytest.mark.parametrize("kind", KINDS)
def test_without_any_reader_the_writable_node_answers(tmp_path: Path, kind: str) -> None:
    with Fleet(tmp_path, kind) as fleet:
        fleet.fill(segments=3)
        with Recorder(fleet.router.address, NAME, fleet.truth, QUERIES) as recorder:
            recorder.wait_answers(10)
            for reader in fleet.readers:
                reader.program.kill()
                recorder.wait_answers(10)
        recorder.assert_clean()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_come_and_go_while_readers_are_killed_in_turn(tmp_path: Path, kind: str) -> None:
    with Fleet(tmp_path, kind, settings={"routing": {"replicas": 2}}) as fleet:
        fleet.fill(segments=3)
        with Recorder(fleet.router.address, NAME, fleet.truth, QUERIES) as recorder:
            for turn, reader in enumerate(fleet.readers):
                recorder.wait_answers(10)
                reader.program.kill()
                fleet.insert(1000 + 50 * turn, 50)
                fleet.delete([number for number in range(1000 + 50 * turn) if number % 5 == turn and number < 120])
                reader.program.launch()
                fleet.assert_loaded_again(reader.name)
            recorder.wait_answers(10)
        recorder.assert_clean()
