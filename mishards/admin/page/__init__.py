"""The status page at ``/``: one HTML file that brings all it needs along and asks the admin API every two seconds.

Whoever does not ask for HTML, as clients of the Milvus API, gets that API's answer at ``/``.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def page_route() -> Route:
    """The route of the page, to stand before the route of the Milvus API at the same path."""
    text = resources.files(__package__).joinpath("status.html").read_text(encoding="utf-8")
    headers = {
        "content-security-policy": content_security_policy(text),
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }

    async def page(_request: Request) -> Response:
        return Response(text, media_type="text/html", headers=headers)

    return _PageRoute("/", page)


def content_security_policy(text: str) -> str:
    """The policy under which a page runs its own scripts and styles, known by their hashes, and loads nothing else."""
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, content in _INLINE.findall(text):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    return (
        f"default-src 'none'; script-src {' '.join(hashes['script'])}; style-src {' '.join(hashes['style'])}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class _PageRoute(Route):
    """Fits requests that accept HTML."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        if match is Match.FULL and not _accepts_html(scope):
            return Match.NONE, {}
        return match, child


def _accepts_html(scope: Scope) -> bool:
    return any(name == b"accept" and b"text/html" in value for name, value in scope.get("headers", ()))
