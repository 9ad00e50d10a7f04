"""``/metrics`` over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def registry_of(collectors: Iterable[Collector]) -> CollectorRegistry:
    """A registry of these collectors, and of what the operating system knows of the process."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    for collector in collectors:
        registry.register(collector)
    return registry


async def _nothing() -> None:
    """Prepare nothing."""


def metrics_route(registry: CollectorRegistry, prepare: Callable[[], Awaitable[None]] = _nothing) -> Route:
    """The route that shows a registry, in the format that the reader prefers; ``prepare`` goes before."""

    async def metrics(request: Request) -> Response:
        await prepare()
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        # On the event loop, to which most of what is read belongs; it takes a few milliseconds.
        return Response(encode(registry), headers={"content-type": content_type})

    return Route("/metrics", metrics)
