"""A whole router goes by other settings while it runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mishards.cluster.health import HealthState
from mishards.config import RELOADABLE
from mishards.errors import NodeOverloaded, Overloaded
from mishards.query.hedge import HedgeOptions, Hedging
from mishards.query.options import Consistency
from mishards.service.admission import Admission, AdmissionOptions, CallClass
from mishards.testing.cluster import InProcessCluster, rows_of, running_cluster
from mishards.testing.waiting import eventually_async

QUERIES = np.zeros((2, 4), np.float32)


async def filled(cluster: InProcessCluster) -> None:
    cluster.world.create("words")
    cluster.world.add("words", range(10), np.ones((10, 4), np.float32))
    await cluster.snapshot_newer()


async def test_searches_are_checked_against_the_newest_limit() -> None:
    async with running_cluster() as cluster:
        await filled(cluster)
        assert len(rows_of(await cluster.search("words", QUERIES, 3))[0]) == 2
        search = replace(cluster.options.search, max_results=5)
        cluster.router.reconfigure(replace(cluster.options, search=search))
        with pytest.raises(NodeOverloaded, match="the limit is 5"):
            await cluster.search("words", QUERIES, 3)
        cluster.router.reconfigure(cluster.options)
        assert not (await cluster.search("words", QUERIES, 3)).status.error_code


async def test_searches_that_name_no_consistency_get_the_newest_default() -> None:
    async with running_cluster() as cluster:
        await filled(cluster)
        cluster.world.away = True
        await eventually_async(lambda: cluster.router.cache.error)
        assert not (await cluster.search("words", QUERIES, 3)).status.error_code
        search = replace(cluster.options.search, consistency=Consistency.STRONG)
        cluster.router.reconfigure(replace(cluster.options, search=search))
        assert (await cluster.search("words", QUERIES, 3)).status.error_code, "strong searches need the database"


async def test_a_node_is_taken_down_by_the_newest_number_of_faults() -> None:
    async with running_cluster() as cluster:
        node = next(iter(cluster.router.fleet))
        cluster.router.reconfigure(replace(cluster.options, health=replace(cluster.options.health, call_faults=1)))
        node.health = node.health.call_faulted(0.0, node._options, "a fault")
        assert node.health.state is HealthState.DOWN


def test_lowered_limits_refuse_new_calls_and_end_none() -> None:
    admission = Admission(AdmissionOptions(max_searches=2))
    with admission.admitted(CallClass.SEARCH):
        admission.reconfigure(AdmissionOptions(max_searches=1))
        with pytest.raises(Overloaded), admission.admitted(CallClass.SEARCH):
            pass
        admission.reconfigure(AdmissionOptions(max_searches=0))
        with admission.admitted(CallClass.SEARCH):
            assert admission.under_way[CallClass.SEARCH] == 2


def test_hedging_that_is_switched_off_and_on_begins_anew() -> None:
    hedging = Hedging(HedgeOptions(enabled=True))
    for _ in range(100):
        hedging.took(0.010)
    assert hedging.delay_s() == pytest.approx(0.011)
    hedging.reconfigure(HedgeOptions(enabled=False))
    assert hedging.delay_s() is None
    hedging.reconfigure(HedgeOptions(enabled=True))
    assert hedging.delay_s() is None, "nothing is known yet"


async def test_every_setting_that_reloads_reaches_the_part_that_goes_by_it() -> None:
    async with running_cluster() as cluster:
        router, options = cluster.router, cluster.options
        changed = replace(
            options,
            search=replace(
                options.search, graceful_time_ms=7, deadline_ms=7_000, hedge=HedgeOptions(True, 0.5, 0.5, 7.0)
            ),
            write=replace(options.write, stall_ms=7),
            health=replace(options.health, patience_ms=7_000, call_faults=7),
            admission=replace(options.admission, max_writes=7, max_infos=7),
        )
        router.reconfigure(changed)
        searcher = router._searcher
        parts = (searcher, searcher._preparation, searcher._snapshots, searcher._growing)
        assert all(part._options is changed.search for part in parts)
        assert searcher._hedging._options is changed.search.hedge
        assert (searcher._patience.vigil.patience_s, router._lookup._deadline_ms) == (7.0, 7_000)
        assert all(judge._options is changed.health for judge in (router.fleet, *router.fleet))
        assert router.forwarder._options is changed.write
        assert (router._admission._limits[CallClass.WRITE], router._admission._limits[CallClass.INFO]) == (7, 7)
        sections = {"search", "write", "admission", "health", "log"}
        assert {key.partition(".")[0] for key in RELOADABLE} == sections
