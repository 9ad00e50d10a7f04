"""Who may change things through the admin API; pure.

Without a token only this machine may, and no page of another site in a browser on it: such a request names where it
comes from (``Origin``), or reaches us under a name that somebody made point here (``Host``).
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from mishards.rest.errors import BadHttpRequest, RestCode

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


def check_may_write(headers: Mapping[str, str], client_host: str, token: str) -> None:
    """Return if a request may change things.

    Args:
        headers: Of the request, names in lower case.
        client_host: The address that it came from.
        token: The one that is configured; empty where none is.

    Raises:
        BadHttpRequest: it may not; with status 401 or 403.
    """
    if token:
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), token.encode()):
            message = "This needs the header 'Authorization: Bearer TOKEN' with the token of setting admin.token."
            raise BadHttpRequest(RestCode.NOT_ALLOWED, message, HTTPStatus.UNAUTHORIZED)
        return
    reason = _why_foreign(headers, client_host)
    if reason:
        message = f"{reason} Changes are taken from this machine only, unless setting admin.token is given."
        raise BadHttpRequest(RestCode.NOT_ALLOWED, message, HTTPStatus.FORBIDDEN)


def _why_foreign(headers: Mapping[str, str], client_host: str) -> str:
    if not _is_loopback(client_host):
        return f"The request comes from {client_host or 'an unknown address'}."
    proxies = [name for name in _FORWARDED if name in headers]
    if proxies:
        return f"The request came through a proxy (header {proxies[0]})."
    host = headers.get("host", "")
    if not _is_loopback(urlsplit(f"//{host}").hostname or ""):
        return f"The request was made to '{host}'."
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        return f"The request was made by a page of {origin}."
    return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
