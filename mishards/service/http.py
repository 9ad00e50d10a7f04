"""What the router alone says over HTTP: health, readiness, its state, and the plan of a collection.

Runs in the router's event loop; every answer is JSON.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mishards.deadline import Deadline
from mishards.errors import CollectionNotFound, MishardsError
from mishards.query.explain import Explainer
from mishards.rest.health import health_routes
from mishards.service.readiness import Readiness

_EXPLAIN_S = 5.0


def router_routes(readiness: Readiness, explainer: Explainer) -> list[Route]:
    """The routes of the router beside those of the Milvus API."""

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

    return [
        *health_routes(readiness.problems, readiness.warnings),
        Route("/status", status),
        Route("/explain/{collection}", explain),
    ]
