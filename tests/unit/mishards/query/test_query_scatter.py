from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mishards.catalog.records import FileRecord, FileType
from mishards.catalog.snapshot import Segment
from mishards.cluster.node import Node
from mishards.deadline import Deadline
from mishards.errors import DeadlineExceeded, NodeError, NodeUnavailable
from mishards.query.hedge import HedgeOptions, Hedging
from mishards.query.part import Candidates, Patience, Request
from mishards.query.scatter import Scatter
from mishards.query.share import Share
from mishards.query.vigil import Vigil
from mishards.transport.api import settling
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.results import encode_result

NAMES = "abcd"
OK = encode_result(None)


def segment(number: int) -> Segment:
    record = FileRecord(number, "t", f"s{number}", 1, "f", FileType.RAW, 1, 1, 1, 1, 0, 0)
    return Segment(f"s{number}", "t", record, None)


class ScriptedNode:
    """Answers each call by the next word of its script, ``ok``, ``slow``, ``hung`` or ``dead``; then by the last."""

    capabilities: frozenset[str] = frozenset()

    def __init__(self, name: str, script: list[str]) -> None:
        self.name, self._script = name, list(script)
        self.record = SimpleNamespace(name=name, address=f"{name}:1")
        self.asked: list[list[str]] = []
        self.under_way = 0

    async def call(self, method: str, request: bytes, **_: Any) -> bytes:
        self.asked.append(list(pb.SearchInFilesParam.FromString(request).file_id_array))
        word = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        self.under_way += 1
        try:
            if word == "hung":
                await asyncio.Event().wait()
            if word == "slow":
                await asyncio.sleep(0.02)
            if word == "dead":
                await asyncio.sleep(0)
                raise NodeUnavailable(self.record.address, "dead")
        finally:
            self.under_way -= 1
        return OK

    def probe(self) -> asyncio.Task[bool]:
        """It lives."""
        return asyncio.get_running_loop().create_task(asyncio.sleep(0, result=True))

    def answered(self) -> None:
        """Counts nothing here."""

    def faulted(self, reason: str) -> None:
        """Counts nothing here."""


async def at_once(_node: Node, _segments: Sequence[Segment]) -> None:
    """Nodes are always ready."""


def hedging(enabled: bool) -> Hedging:
    made = Hedging(HedgeOptions(enabled=enabled, budget=1.0, min_delay_ms=1))
    for _ in range(40):
        made.took(0.001)
        made.called()
    return made


async def scattered(
    scripts: dict[str, list[str]], placement: dict[int, str], enabled: bool, patience_s: float = 30
) -> tuple[Scatter, list[Any] | NodeError, dict[str, ScriptedNode]]:
    """Run a scatter over segments with these candidates, each first asked of its first; two replicas each."""
    nodes = {name: ScriptedNode(name, script) for name, script in scripts.items()}

    def choose(names: str, tried: tuple[str, ...]) -> Node | None:
        return next((cast("Node", nodes[name]) for name in names if name not in tried), None)

    candidates = Candidates(
        lambda found, tried: choose(placement[found.file.id], tried),
        lambda found, tried: choose(placement[found.file.id][:2], tried),
    )
    parts: dict[str, list[Segment]] = {}
    for number, names in placement.items():
        parts.setdefault(names[0], []).append(segment(number))
    waiting: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
    request = Request(b"", Deadline.after(30), (), 1, at_once, [])
    scatter = Scatter(request, candidates, hedging(enabled), Patience(Vigil(patience_s)), settling(waiting))
    scatter.begin([Share.of(cast("Node", nodes[name]), found) for name, found in parts.items()])
    try:
        return scatter, await waiting, nodes
    except NodeError as error:
        return scatter, error, nodes


SCRIPTS = st.fixed_dictionaries(
    {name: st.lists(st.sampled_from(["ok", "slow", "dead"]), min_size=1, max_size=3) for name in NAMES}
)
PLACEMENTS = st.dictionaries(st.integers(1, 8), st.permutations(NAMES).map("".join), min_size=1, max_size=6)


@settings(max_examples=150)
@given(SCRIPTS, PLACEMENTS, st.booleans())
def test_every_segment_is_answered_exactly_once_or_the_whole_fails(
    scripts: dict[str, list[str]], placement: dict[int, str], enabled: bool
) -> None:
    async def check() -> None:
        _, outcome, nodes = await scattered(scripts, placement, enabled)
        if isinstance(outcome, NodeError):
            assert all("dead" in script for script in scripts.values())
        else:
            answered = Counter(found.file.id for answer in outcome for found in answer.segments)
            assert answered == dict.fromkeys(placement, 1)
        for _ in range(3):
            await asyncio.sleep(0)
        assert not any(node.under_way for node in nodes.values())

    asyncio.run(check())


async def test_the_pieces_of_a_failed_part_go_to_the_next_candidate_of_each_segment() -> None:
    scripts = {"a": ["dead"], "b": ["ok"], "c": ["ok"], "d": ["ok"]}
    _, answers, nodes = await scattered(scripts, {1: "abcd", 2: "acbd", 3: "abcd", 4: "dcba"}, enabled=False)
    assert isinstance(answers, list)
    assert (nodes["b"].asked, nodes["c"].asked, nodes["d"].asked) == ([["1", "3"]], [["2"]], [["4"]])


async def test_no_node_is_asked_twice_for_a_segment() -> None:
    _, failure, nodes = await scattered({name: ["dead"] for name in NAMES}, {1: "abcd"}, enabled=False)
    assert isinstance(failure, NodeUnavailable)
    assert [len(node.asked) for node in nodes.values()] == [1, 1, 1, 1]


async def test_a_hedge_asks_the_other_replicas_and_the_first_to_answer_wins() -> None:
    scripts = {"a": ["slow"], "b": ["ok"], "c": ["ok"], "d": ["ok"]}
    scatter, answers, nodes = await scattered(scripts, {1: "abcd", 2: "acbd"}, enabled=True)
    assert isinstance(answers, list)
    assert sorted(answer.node for answer in answers) == ["b", "c"]
    assert scatter.attempts == 3
    assert nodes["d"].asked == []


async def test_a_call_that_lost_to_its_hedge_is_remembered_as_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    took: list[float] = []
    monkeypatch.setattr(Hedging, "took", lambda _, seconds: took.append(seconds))
    monkeypatch.setattr(Hedging, "delay_s", lambda _: 0.001)
    scripts = {"a": ["slow"], "b": ["ok"], "c": ["ok"], "d": ["ok"]}
    await scattered(scripts, {1: "abcd"}, enabled=True)
    assert len(took) == 40 + 2


async def test_others_are_asked_besides_a_node_that_lives_but_does_not_answer() -> None:
    scripts = {"a": ["hung"], "b": ["ok"], "c": ["ok"], "d": ["ok"]}
    scatter, answers, nodes = await scattered(scripts, {1: "abcd", 2: "acbd"}, enabled=False, patience_s=0.005)
    assert isinstance(answers, list)
    assert sorted(answer.node for answer in answers) == ["b", "c"]
    assert (scatter.hedges, nodes["d"].asked) == (2, [])


async def test_a_hedge_that_fails_leaves_the_first_call_to_answer() -> None:
    scripts = {"a": ["slow"], "b": ["dead"], "c": ["ok"], "d": ["ok"]}
    _, answers, _ = await scattered(scripts, {1: "abcd", 2: "acbd"}, enabled=True)
    assert isinstance(answers, list)
    assert [answer.node for answer in answers] == ["a"]


async def test_without_time_nothing_is_sent() -> None:
    request = Request(b"", Deadline(0.0), (), 1, at_once, [])
    scatter = Scatter(request, cast("Candidates", None), hedging(enabled=False), Patience(Vigil(1)), lambda *_: None)
    with pytest.raises(DeadlineExceeded):
        scatter.begin([])
