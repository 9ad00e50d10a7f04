"""Whatever is written through one router, strong searches through each, and session ones through that one, see it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from harness.node_rpc import floats
from harness.real_cluster import Door, RealCluster, real_cluster

TAGS = ("", "p")
SOME_IDS = st.lists(st.integers(0, 5), min_size=1, max_size=3)
OPERATIONS = st.one_of(
    st.tuples(st.just("insert"), SOME_IDS, st.sampled_from(TAGS)),
    st.tuples(st.just("insert"), SOME_IDS, st.sampled_from(TAGS)),
    st.tuples(st.just("delete"), SOME_IDS, st.sampled_from(TAGS)),
    st.sampled_from([("flush",), ("compact",), ("look", "Strong"), ("look", "Session")]),
)
NUMBERS = itertools.count()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[asyncio.AbstractEventLoop, RealCluster]]:
    loop = asyncio.new_event_loop()
    context = real_cluster(tmp_path, readers=1)
    yield loop, loop.run_until_complete(context.__aenter__())
    loop.run_until_complete(context.__aexit__(None, None, None))
    loop.close()


class Model:
    """The rows of one collection, in the order of insertion: which is their distance from a query at 0."""

    def __init__(self, first: Door, second: Door, name: str) -> None:
        self.first, self.second, self.name = first, second, name
        self.rows: list[tuple[int, str]] = []
        self.values = itertools.count(1)

    async def begin(self) -> None:
        await self.first.create(self.name)
        await self.first.ok("CreatePartition", collection_name=self.name, tag="p")

    async def step(self, operation: tuple[object, ...]) -> None:
        match operation:
            case ("insert", list(ids), str(tag)):
                values = [next(self.values) for _ in ids]
                await self.first.insert(floats(*values), ids, tag, self.name)
                self.rows += [(number, tag) for number in ids]
            case ("delete", list(ids), str(tag)):
                await self.first.delete(ids, tag, self.name)
                self.rows = [row for row in self.rows if row[0] not in ids or (tag and tag != row[1])]
            case ("flush",):
                await self.first.flush(self.name)
            case ("compact",):
                await self.first.ok("Compact", collection_name=self.name)
            case ("look", str(level)):
                await self.look(level)

    async def look(self, level: str) -> None:
        params = f'{{"consistency_level": "{level}"}}'
        for door in (self.first, self.second) if level == "Strong" else (self.first,):
            found = await door.search(floats(0), 1000, params=params, name=self.name)
            assert found == [[number for number, _ in self.rows]]
            found = await door.search(floats(0), 1000, tags=["p"], params=params, name=self.name)
            assert found == [[number for number, tag in self.rows if tag == "p"]]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(operations=st.lists(OPERATIONS, min_size=3, max_size=20))
def test_strong_and_session_see_exactly_what_was_acknowledged(
    running: tuple[asyncio.AbstractEventLoop, RealCluster], operations: list[tuple[object, ...]]
) -> None:
    loop, cluster = running

    async def play() -> None:
        model = Model(*cluster.doors, f"c{next(NUMBERS)}")
        await model.begin()
        for operation in [*operations, ("look", "Session"), ("look", "Strong")]:
            await model.step(operation)

    loop.run_until_complete(play())
