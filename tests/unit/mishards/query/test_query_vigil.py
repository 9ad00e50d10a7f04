from __future__ import annotations

import asyncio
from typing import Any, cast

from mishards.cluster.node import Node
from mishards.query.vigil import Vigil
from mishards.testing.waiting import eventually_async


class Probed:
    """A node whose probes find what they are told to, one after the other; the last stays."""

    def __init__(self, *alive: bool) -> None:
        self._alive = list(alive)
        self.probes = 0
        self.broken: list[str] = []
        self.held = asyncio.Event()
        self.held.set()

    def probe(self) -> asyncio.Task[bool]:
        async def found() -> bool:
            await self.held.wait()
            return self._alive.pop(0) if len(self._alive) > 1 else self._alive[0]

        self.probes += 1
        return asyncio.get_running_loop().create_task(found())

    def broke(self, reason: str) -> None:
        self.broken.append(reason)


class Waiter:
    def __init__(self, node: Any) -> None:
        self.node = cast("Node", node)
        self.dead = self.alive = 0

    def found_alive(self) -> None:
        self.alive += 1

    def found_dead(self) -> None:
        self.dead += 1


async def test_a_node_that_lives_is_probed_again_and_again_until_it_has_answered() -> None:
    vigil, node = Vigil(0.005), Probed(True)
    waiter = Waiter(node)
    vigil.begin(waiter)
    await eventually_async(lambda: node.probes >= 3)
    assert waiter.alive >= 2
    vigil.end(waiter)
    seen = node.probes
    later = Probed(True)
    vigil.begin(Waiter(later))
    await eventually_async(lambda: later.probes >= 2)
    assert (node.probes, node.broken, waiter.dead) == (seen, [], 0)


async def test_who_waits_for_a_node_that_is_dead_learns_it_once() -> None:
    vigil, node = Vigil(0.005), Probed(True, False)
    waiters = [Waiter(node), Waiter(node)]
    vigil.begin(waiters[0])
    await eventually_async(lambda: waiters[0].dead == 1)
    vigil.begin(waiters[1])
    await eventually_async(lambda: waiters[1].dead == 1)
    assert [waiter.dead for waiter in waiters] == [1, 1]
    assert len(node.broken) == 2


async def test_one_that_waits_no_more_while_its_node_is_probed_hears_nothing() -> None:
    vigil, node = Vigil(0.005), Probed(False)
    node.held.clear()
    waiter, other = Waiter(node), Waiter(node)
    vigil.begin(waiter)
    vigil.begin(other)
    await eventually_async(lambda: node.probes == 2)
    vigil.end(waiter)
    node.held.set()
    await eventually_async(lambda: other.dead == 1)
    assert waiter.dead == 0
