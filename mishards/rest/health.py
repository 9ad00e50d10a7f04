"""``/healthz`` and ``/readyz``, for whoever starts, watches or balances the program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mishards.rest.replies import ok

Reasons = Callable[[], Sequence[str]]


def health_routes(problems: Reasons, warnings: Reasons) -> list[Route]:
    """The two routes.

    Args:
        problems: Why calls cannot be served; nothing when they can.
        warnings: What is wrong although they are.
    """

    async def healthz(_request: Request) -> Response:
        return ok({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        found = list(problems())
        body = {"ready": not found, "reasons": found, "warnings": list(warnings())}
        return ok(body, HTTPStatus.SERVICE_UNAVAILABLE if found else HTTPStatus.OK)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
