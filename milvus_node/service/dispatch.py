"""From a call to the function that serves it, by method name and role."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from google.protobuf.message import DecodeError

from milvus_node.service.pools import Pool, Share
from mishards.errors import MalformedRequest, MishardsError, UnknownMethod, WriteRefused
from mishards.transport.api import Call
from mishards.wire.replies import METHODS, error_reply

log = logging.getLogger(__name__)

Serve = Callable[[Call], bytes | Share[bytes]]
"""Serves one call on a worker thread: encoded request in, encoded reply out; raises MishardsError.

It may leave a share of the work, to be done together with that of other calls.
"""


@dataclass(frozen=True, slots=True)
class Route:
    """Who serves a method, and where."""

    serve: Serve
    pool: Pool


class RunningCalls:
    """The calls under way, named ``METHOD-NUMBER``. Safe from any thread."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._names: dict[int, str] = {}

    @contextmanager
    def entered(self, method: str) -> Iterator[None]:
        """Count a call in for as long as the block lasts."""
        number = next(self._numbers)
        self._names[number] = f"{method}-{number}"
        try:
            yield
        finally:
            del self._names[number]

    def names(self, without: str) -> list[str]:
        """Every call under way that is not of the method ``without``."""
        return [name for name in list(self._names.values()) if not name.startswith(f"{without}-")]


class Dispatcher:
    """The handler of the node's server. Belongs to one event loop."""

    def __init__(
        self, routes: Mapping[str, Route], running: RunningCalls, refused: frozenset[str] = frozenset()
    ) -> None:
        """``refused``: methods that exist and that this role does not serve."""
        self._routes = routes
        self._running = running
        self._refused = refused

    async def __call__(self, call: Call) -> bytes:
        """Serve a call; errors of the protocol become the reply's status."""
        method = call.method
        try:
            if method in self._refused:
                raise WriteRefused(method)
            route = self._routes.get(method)
            if route is None:
                raise UnknownMethod(method)
            with self._running.entered(method):
                return await route.pool.run(partial(route.serve, call))
        except MishardsError as error:
            if error.rpc_status is not None:
                raise
            log.info("%s failed: %s", method, error)
            return error_reply(method, error)
        except DecodeError as error:
            raise MalformedRequest(f"{method}: the bytes are no {METHODS[method].request.DESCRIPTOR.name}") from error
        except Exception as error:  # the RPC boundary: a bug must not end the connection
            log.exception("%s failed in a way that is a bug", method)
            return error_reply(method, MishardsError(f"internal error: {error}"))
