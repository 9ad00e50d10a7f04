"""A real router on a thread, before nodes of the double."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from harness.milvus1.client import NodeClient
from harness.milvus1.cluster import Cluster
from mishards.assembly import Router, edges_of
from mishards.config import DiscoveryOptions, MetadataOptions, NetworkOptions, RouterOptions
from mishards.query.options import RoutingOptions


class ThreadedRouter:
    """A router, with its event loop on a thread of its own."""

    def __init__(self, options: RouterOptions) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="router")
        self._options = options

    def __enter__(self) -> ThreadedRouter:
        self._thread.start()
        self.address = self._run(self._start())
        return self

    async def _start(self) -> str:
        self.router = Router(self._options, edges_of(self._options))
        address = await self.router.start()
        await asyncio.wait_for(self.router.ready(), 30)
        return address

    def __exit__(self, *_: object) -> None:
        self._run(self.router.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine):  # type: ignore[no-untyped-def]  # of any result
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of the double without nodes, over SQLite."""
    with Cluster(tmp_path) as made:
        yield made


RouterBefore = Callable[..., NodeClient]


@pytest.fixture
def router_before(cluster: Cluster) -> Iterator[RouterBefore]:
    """Make a router before the nodes at these addresses, and a client of it."""
    with ExitStack() as stack:

        def made(writable: str, *readonly: str, replicas: int = 1) -> NodeClient:
            uri = f"static://?writable={writable}" + (f"&readonly={','.join(readonly)}" if readonly else "")
            options = RouterOptions(
                network=NetworkOptions("127.0.0.1:0", http_address="", drain_ms=100),
                metadata=MetadataOptions(cluster.uri, refresh_ms=200),
                discovery=DiscoveryOptions(uri),
                routing=RoutingOptions(replicas=replicas),
            )
            options = replace(options, health=replace(options.health, retry_min_ms=50, patience_ms=300))
            return stack.enter_context(NodeClient(stack.enter_context(ThreadedRouter(options)).address))

        yield made
