"""Pages behind which there is no call: who may have them."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mishards.errors import MishardsError
from mishards.rest.errors import refusal
from mishards.rest.replies import ok
from mishards.security.guard import AUTHORIZATION, Guard

PEER_NAMES = "mishards.peer_names"
"""In the scope of a request: the names in the client's certificate."""

_READS = frozenset({"GET", "HEAD"})
_CHANGE = "/change"


def guarded(routes: Sequence[Route], guard: Guard) -> list[Route]:
    """The routes, each of which asks the guard before it shows something; its no is answered in JSON.

    What changes something is asked for as a path of its own, ``/change`` and the path: only admins may, unless a list
    of what a role may says ``http:/change/…``.
    """
    for route in routes:
        route.app = _Guarded(route.app, route.path, guard)
    return list(routes)


class _Guarded:
    def __init__(self, app: ASGIApp, path: str, guard: Guard) -> None:
        self._app = app
        self._path = path
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app, request = self._app, Request(scope)
        presented, names = request.headers.get(AUTHORIZATION), scope.get(PEER_NAMES, ())
        try:
            path = self._path if request.method in _READS else f"{_CHANGE}{self._path}"
            self._guard.check_page(path, presented, names)
        except MishardsError as error:
            status, code, message = refusal(error)
            app = ok({"message": message, "code": code}, status)
        await app(scope, receive, send)
