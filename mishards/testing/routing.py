"""What every routing must do; subclass and say how yours is made. Properties, checked on generated topologies."""

# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mishards.routing.api import Owner, Placeable, Placement, Routing

_INHERITED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
"""What hypothesis finds odd about a suite that several classes inherit: one method, many fixtures."""

_WEIGHTS = st.sampled_from([0.5, 1.0, 1.0, 1.0, 2.0])


@st.composite
def owners(draw: st.DrawFn, low: int = 1, high: int = 8) -> list[Owner]:
    """Nodes with different names and some weights."""
    names = draw(
        st.lists(st.text("abcdef0123456789.:-", min_size=1, max_size=12), min_size=low, max_size=high, unique=True)
    )
    return [Owner(name, draw(_WEIGHTS)) for name in names]


@st.composite
def segments(draw: st.DrawFn, high: int = 40) -> list[Placeable]:
    """Segments of one collection, named as nodes of Milvus 1.x name them."""
    count = draw(st.integers(0, high))
    start = draw(st.integers(1_600_000_000_000_000_000, 1_800_000_000_000_000_000))
    return [Placeable(str(start + number * 1_000), "words", "_default", 1_000) for number in range(count)]


def many(count: int, seed: int) -> list[Placeable]:
    """``count`` segments whose ids follow each other at random distances."""
    chance, number, found = random.Random(seed), 1_795_311_037_998_941_000, []  # noqa: S311 - reproducible, no secret
    for _ in range(count):
        number += chance.randrange(1_000, 5_000_000_000, 1_000)
        found.append(Placeable(str(number), "words"))
    return found


def loads(placement: Placement, copies: int) -> Counter[str]:
    """How many of the first ``copies`` places each node has."""
    return Counter(name for names in placement.values() for name in names[:copies])


class RoutingSuite:
    """The clauses of ``Routing``; the fixture ``routing`` gives one."""

    moved_bound = 1.6
    """How many times the ideal share of segments may move when a node joins or leaves."""
    balanced_copies: Sequence[int] = (1, 2)
    """Of which beginnings of the lists no node may have more than the bound."""
    balanced_nodes: Sequence[int] = (2, 3, 5, 8, 16)
    """For which numbers of nodes."""

    def nodes(self, count: int) -> list[Owner]:
        """So many nodes of equal weight, as this routing wants them; override where it looks at zones."""
        return [Owner(f"10.0.0.{number}:19530") for number in range(count)]

    @pytest.fixture
    def routing(self) -> Routing:
        """Override: the routing."""
        raise NotImplementedError

    _generated = settings(max_examples=60, suppress_health_check=_INHERITED)

    @_generated
    @given(owners(), segments(), st.integers(1, 10))
    def test_every_segment_gets_as_many_different_nodes_as_asked_for_or_there_are(
        self, routing: Routing, nodes: list[Owner], found: list[Placeable], count: int
    ) -> None:
        placement = routing.assign(found, nodes, count)
        assert set(placement) == {segment.segment_id for segment in found}
        for names in placement.values():
            assert len(names) == len(set(names)) == min(count, len(nodes))
            assert set(names) <= {node.name for node in nodes}

    @_generated
    @given(owners(), segments(), st.integers(1, 4), st.randoms(use_true_random=False))
    def test_the_order_of_the_arguments_does_not_matter(
        self, routing: Routing, nodes: list[Owner], found: list[Placeable], count: int, chance: random.Random
    ) -> None:
        placement = routing.assign(found, nodes, count)
        chance.shuffle(nodes)
        chance.shuffle(found)
        assert routing.assign(found, nodes, count) == placement

    @_generated
    @given(owners(), segments(), st.integers(1, 4), st.integers(1, 4))
    def test_asking_for_fewer_gives_the_beginning_of_the_same_lists(
        self, routing: Routing, nodes: list[Owner], found: list[Placeable], fewer: int, more: int
    ) -> None:
        short, long = routing.assign(found, nodes, fewer), routing.assign(found, nodes, fewer + more)
        assert {key: names[:fewer] for key, names in long.items()} == dict(short)

    def test_without_nodes_every_list_is_empty(self, routing: Routing) -> None:
        assert routing.assign([Placeable("1")], [], 2) == {"1": ()}

    @pytest.mark.parametrize("seed", range(5))
    def test_with_100_segments_a_node_none_has_more_than_1_25_times_its_share(
        self, routing: Routing, seed: int
    ) -> None:
        for nodes in self.balanced_nodes:
            placement = routing.assign(many(100 * nodes, seed), self.nodes(nodes), max(self.balanced_copies))
            for copies in self.balanced_copies:
                assert max(loads(placement, copies).values()) <= 125 * copies, f"of {nodes} nodes"

    def test_a_node_of_twice_the_weight_gets_about_twice_the_segments(self, routing: Routing) -> None:
        named = [Owner("a"), Owner("b"), Owner("c", 2.0)]
        given_out = loads(routing.assign(many(400, 1), named, 1), 1)
        assert 160 <= given_out["c"] <= 250
        assert given_out["a"] <= 125
        assert given_out["b"] <= 125

    @pytest.mark.parametrize("nodes", [3, 8, 16])
    def test_a_node_that_joins_takes_its_share_and_little_else_moves(self, routing: Routing, nodes: int) -> None:
        *named, joining = self.nodes(nodes + 1)
        found, copies = many(100 * nodes, 7), max(self.balanced_copies)
        before, after = routing.assign(found, named, copies), routing.assign(found, [*named, joining], copies)
        moved = [name for key, names in after.items() for name in names if name not in before[key]]
        elsewhere = [name for name in moved if name != joining.name]
        assert len(moved) <= self.moved_bound * copies * len(found) / (nodes + 1)
        assert len(elsewhere) <= 0.1 * len(moved)

    def test_a_new_segment_moves_hardly_any_other(self, routing: Routing) -> None:
        named = self.nodes(5)
        found = many(300, 3)
        before, after = routing.assign(found[:-1], named, 1), routing.assign(found, named, 1)
        assert sum(before[key] != after[key] for key in before) <= 3
