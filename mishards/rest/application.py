"""The HTTP application: the table of routes, and what holds for every request.

Every answer, an error too, is readable by a page of any origin (CORS), and every error is JSON.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mishards.errors import MishardsError
from mishards.rest import collections, configuration, indexes, partitions, segments, system, vectors
from mishards.rest.body import read_body
from mishards.rest.errors import BadHttpRequest, RestCode, refusal
from mishards.rest.exchange import Exchange, deadline_of, while_wanted
from mishards.rest.replies import ok
from mishards.transport.api import Handler

log = logging.getLogger(__name__)

Answer = Callable[[Exchange], Awaitable[Response]]

_ANSWERS: tuple[tuple[str, str, Answer], ...] = (
    ("GET", "/", system.welcome),
    ("GET", "/state", system.state),
    ("GET", "/devices", system.devices),
    ("GET", "/config/advanced", configuration.show_advanced),
    ("PUT", "/config/advanced", configuration.change_advanced),
    ("GET", "/collections", collections.list_collections),
    ("POST", "/collections", collections.create_collection),
    ("GET", "/collections/{collection}", collections.show_collection),
    ("DELETE", "/collections/{collection}", collections.drop_collection),
    ("GET", "/collections/{collection}/indexes", indexes.show_index),
    ("POST", "/collections/{collection}/indexes", indexes.create_index),
    ("DELETE", "/collections/{collection}/indexes", indexes.drop_index),
    ("GET", "/collections/{collection}/partitions", partitions.list_partitions),
    ("POST", "/collections/{collection}/partitions", partitions.create_partition),
    ("DELETE", "/collections/{collection}/partitions", partitions.drop_partition),
    ("GET", "/collections/{collection}/segments", segments.list_segments),
    ("GET", "/collections/{collection}/segments/{segment}/ids", segments.list_ids),
    ("GET", "/collections/{collection}/segments/{segment}/vectors", segments.list_vectors),
    ("GET", "/collections/{collection}/vectors", vectors.get_vectors),
    ("POST", "/collections/{collection}/vectors", vectors.insert),
    ("PUT", "/collections/{collection}/vectors", vectors.search_or_delete),
    ("GET", "/system/config", configuration.show_config),
    ("PUT", "/system/config", configuration.change_config),
    ("PUT", "/system/task", system.run_task),
    ("GET", "/system/{command}", system.show),
)

_CORS = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, POST, PUT, DELETE, OPTIONS"),
    (b"access-control-allow-headers", b"*, Authorization"),
    (b"access-control-expose-headers", b"*"),
    (b"access-control-max-age", b"86400"),
)
_ENDED_BY_CLIENT = 499


def api_routes(handler: Handler, max_body_bytes: int = -1) -> list[Route]:
    """The routes of the API before a handler of RPC calls.

    ``max_body_bytes``: a larger body is refused; -1 is no limit.
    """
    return routes_of(_ANSWERS, handler, max_body_bytes)


def routes_of(answers: Sequence[tuple[str, str, Answer]], handler: Handler, max_body_bytes: int) -> list[Route]:
    """Routes from method, path and what answers; a ``MishardsError`` becomes JSON with the status that it calls for."""
    return [_Endpoint(answer, handler, max_body_bytes).route(method, path) for method, path, answer in answers]


def application(routes: Sequence[Route]) -> ASGIApp:
    """The application with these routes; of two that fit a request the first one answers it."""
    handlers = {HTTPException: _no_route}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return _OpenToAllOrigins(app, routes)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    answer: Answer
    handler: Handler
    max_body_bytes: int

    def route(self, method: str, path: str) -> Route:
        return Route(path, self.serve, methods=[method])

    async def serve(self, request: Request) -> Response:
        try:
            return await self._answered(request)
        except ClientDisconnect:
            return Response(status_code=_ENDED_BY_CLIENT)  # nobody reads it
        except MishardsError as error:
            return _refused(error)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # the boundary: a bug must answer, not hang the client
            log.exception("%s %s failed in a way that is a bug", request.method, request.url.path)
            body = {"message": f"internal error: {error}", "code": 1}
            return ok(body, HTTPStatus.INTERNAL_SERVER_ERROR)

    async def _answered(self, request: Request) -> Response:
        deadline = deadline_of(request)
        body = await read_body(request, self.max_body_bytes)
        exchange = Exchange(request, body, self.handler, deadline)
        del body
        response = await while_wanted(request, deadline, self.answer(exchange))
        for name, value in exchange.reply_metadata:
            response.headers[name] = value
        return response


def _refused(error: MishardsError) -> Response:
    status, code, message = refusal(error)
    return ok({"message": message, "code": code}, status)


def _no_route(request: Request, error: Exception) -> Response:
    path, method = request.url.path, request.method
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        message = f"{path} does not know the method {method}."
        return _refused(BadHttpRequest(RestCode.UNKNOWN_PATH, message, HTTPStatus.METHOD_NOT_ALLOWED))
    if "//" in path:
        return _refused(BadHttpRequest(RestCode.PATH_PARAM_LOSS, f"A part of the path {path} is empty."))
    return _refused(BadHttpRequest(RestCode.UNKNOWN_PATH, f"Unknown path: {path}.", HTTPStatus.NOT_FOUND))


class _OpenToAllOrigins:
    """Adds what lets pages of other origins read the answers, and answers the question whether they may."""

    def __init__(self, app: ASGIApp, routes: Sequence[Route]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_open(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_CORS]
            await send(message)

        app = self._app
        if scope["type"] == "http" and scope["method"] == "OPTIONS" and self._known(scope):
            app = Response(status_code=HTTPStatus.NO_CONTENT)
        await app(scope, receive, send_open)

    def _known(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is not Match.NONE for route in self._routes)
