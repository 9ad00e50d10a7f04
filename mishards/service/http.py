"""The router over HTTP: health, readiness, and the plan of a collection.

Runs in the router's event loop; every answer is JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mishards.deadline import Deadline
from mishards.errors import CollectionNotFound, MishardsError, StartError
from mishards.query.explain import Explainer
from mishards.service.readiness import Readiness

_EXPLAIN_S = 5.0


def application(readiness: Readiness, explainer: Explainer) -> Starlette:
    """The HTTP application."""

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        problems = readiness.problems()
        body = {"ready": not problems, "reasons": problems, "warnings": readiness.warnings()}
        return JSONResponse(body, status_code=503 if problems else 200)

    async def explain(request: Request) -> Response:
        tags = request.query_params.getlist("partition")
        try:
            plan = await explainer.explain(request.path_params["collection"], tags, Deadline.after(_EXPLAIN_S))
        except MishardsError as error:
            status = 404 if isinstance(error, CollectionNotFound) else 400
            return JSONResponse({"code": int(error.code), "message": str(error)}, status_code=status)
        return JSONResponse(plan)

    async def status(_request: Request) -> Response:
        return JSONResponse(explainer.status())

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/status", status),
            Route("/explain/{collection}", explain),
        ]
    )


class HttpServer:
    """Serves an application on the running event loop."""

    def __init__(self, app: Starlette, address: str) -> None:
        self._address = address
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
        self._server = uvicorn.Server(config)
        # Signals belong to the program, not to one of its servers.
        self._server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]  # same shape
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen; return the bound ``host:port``. Raises StartError when the address cannot be had."""
        listener = _listen(self._address)
        self._task = asyncio.get_running_loop().create_task(self._server.serve([listener]), name="http")
        host, port = listener.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def stop(self) -> None:
        """Close."""
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.wait([self._task], timeout=2)


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(128)
    except (OSError, ValueError, OverflowError) as error:
        raise StartError(f"cannot listen on {address} for HTTP: {error}") from error
    return listener
