"""Traffic, placement and problems as the admin API shows them; against naive counts."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mishards.admin.memory import Memory
from mishards.admin.page import content_security_policy
from mishards.admin.placement import MOST_CELLS, Planner
from mishards.admin.problems import Trouble, problems_of
from mishards.admin.traffic import STEP_S, STEPS, TrafficLog, _bucket, quantile_ms
from mishards.routing.api import Owner
from mishards.testing.world import World
from mishards_plugins.routing.consistent_hash import plugin

OWNERS = tuple(Owner(name) for name in ("a", "b", "c"))
NOW = 1_800_000_000.0


@given(st.lists(st.floats(0.1, 60_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_is_at_most_a_tenth_too_high(values: list[float], share: float) -> None:
    found = quantile_ms(Counter(map(_bucket, values)), share)
    exact = sorted(values)[int(np.ceil(share * len(values))) - 1]
    assert found is not None
    assert exact * 0.99 <= found <= exact * 1.11


def test_calls_are_counted_in_the_step_in_which_they_end() -> None:
    traffic = TrafficLog()
    for offset in (0.0, 0.5, 1.9):
        traffic.count("Search", True, 0.010, NOW + offset)
    traffic.count("Insert", True, 0.010, NOW + STEP_S)
    traffic.count("HasCollection", False, 0.010, NOW + STEP_S)
    traffic.count("Search", True, 0.010, NOW + 2 * STEP_S)
    seen = traffic.seen(NOW + 2 * STEP_S + 0.1)
    first, second = seen.points[-2:]
    assert (first.at, first.searches_per_s, first.p50_ms) == (NOW, 1.5, pytest.approx(10, rel=0.1))
    assert (second.writes_per_s, second.others_per_s, second.failed_per_s, second.p99_ms) == (0.5, 0.5, 0.5, None)
    assert len(seen.points) == STEPS
    assert seen.recent.searches_per_s == pytest.approx(3 / seen.recent_s, abs=0.001)


def test_what_is_long_ago_is_forgotten() -> None:
    traffic = TrafficLog()
    for step in range(3 * STEPS):
        traffic.count("Search", True, 0.010, NOW + step * STEP_S)
    assert len(traffic._steps) == STEPS + 1
    later = traffic.seen(NOW + 10 * STEPS * STEP_S)
    assert not any(point.searches_per_s for point in later.points)


def world_of(segments: int) -> World:
    world = World()
    world.create("words")
    for _ in range(segments):
        world.add("words", [1], np.ones((1, 4), np.float32))
    return world


def planner(replicas: int = 1) -> Planner:
    routing = plugin.routing({})

    def place(collection, owners):  # type: ignore[no-untyped-def]  # as Place says
        from mishards.query.route import _placeables

        return routing.assign(_placeables(collection), owners, replicas + 1)

    return Planner(place, lambda _: replicas)


def test_many_segments_are_told_by_node_unless_their_collection_is_asked_for() -> None:
    snapshot = world_of(MOST_CELLS + 1).read(None)
    (view,) = planner().view(snapshot, OWNERS).collections
    assert view.segments is None
    assert sum(share.segments for share in view.shares.values()) == MOST_CELLS + 1
    (view,) = planner().view(snapshot, OWNERS, "words").collections
    assert view.segments is not None
    assert len(view.segments) == MOST_CELLS + 1
    change = planner().change(snapshot, OWNERS, ())
    assert (len(change.moves), change.shortened) == (MOST_CELLS, True)


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_change_counts_every_copy_that_a_node_would_load(replicas: int) -> None:
    snapshot, after = world_of(40).read(None), (*OWNERS, Owner("d"))
    change = planner(replicas).change(snapshot, OWNERS, after)
    views = [planner(replicas).view(snapshot, owners).collections[0] for owners in (OWNERS, after)]
    before, then = ({s.segment_id: set(s.owners) for s in view.segments or ()} for view in views)
    loaded = sum(len(then[segment] - before[segment]) for segment in before)
    assert change.loaded.segments == loaded > 0
    assert change.copies == 40 * replicas
    assert {move.segment_id for move in change.moves} == {s for s in before if before[s] != then[s]}


def test_a_loading_copy_is_told() -> None:
    snapshot = world_of(4).read(None)
    plan = Planner(planner().place, lambda _: 1, lambda _segment, owners: owners)
    (view,) = plan.view(snapshot, OWNERS).collections
    assert all(segment.loading == segment.owners for segment in view.segments or ())


def test_problems_that_make_calls_fail_come_first() -> None:
    trouble = Trouble(
        unready=("no node has answered",),
        nodes=(("a", "ready", "down", "gone", 1), ("b", "absent", "up", "", 0), ("c", "draining", "up", "", 3)),
        has_leader=False,
        standbys=("w",),
        catalog_error="no route",
        discovery_error="away",
        replica_deficit=1,
    )
    found = problems_of(trouble)
    severities = [problem.severity for problem in found]
    assert severities == sorted(severities)
    whats = [problem.what for problem in found]
    assert whats[:2] == ["Searches cannot be served", "No writable node leads"]
    assert "1 copy of segments missing" in whats
    assert "c is drained by itself" in whats
    assert any("one segment" in problem.effect for problem in found)
    assert not problems_of(Trouble(nodes=(("a", "ready", "up", "", 1),)))


@pytest.mark.parametrize("answer", ["Unknown command", "[]", "{}", '{"cached_bytes": "x"}'])
def test_an_answer_about_memory_that_is_none_is_passed_over(answer: str) -> None:
    assert Memory.parse(answer) is None


def test_memory_is_read() -> None:
    fields = {"cached_bytes": 1, "capacity_bytes": 2, "segments": 3}
    assert Memory.parse(json.dumps(fields)) == Memory(1, 2, 3)


def test_the_policy_allows_the_pages_own_script_only() -> None:
    policy = content_security_policy("<style>a{}</style><script>1</script>")
    assert "script-src 'sha256-a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s='" in policy
    assert policy.startswith("default-src 'none'")
