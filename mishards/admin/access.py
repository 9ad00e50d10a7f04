"""Who may change things through the admin API; pure.

Where access is controlled, that decides. Where it is not, only this machine may. Never may a page of another site in a
browser: such a request names where it comes from (``Origin``), or reaches us under a name that somebody made point here
(``Host``).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from mishards.rest.errors import BadHttpRequest, RestCode

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


def check_may_write(headers: Mapping[str, str], client_host: str, *, access_controlled: bool) -> None:
    """Return if a request may change things.

    Args:
        headers: Of the request, names in lower case.
        client_host: The address that it came from.
        access_controlled: Has it been found to come from somebody who may?

    Raises:
        BadHttpRequest: it may not; with status 403.
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    reason = "" if access_controlled else _why_elsewhere(headers, client_host, host)
    if reason:
        message = f"{reason} Changes are taken from this machine only, unless access is controlled (security.tokens)."
        raise BadHttpRequest(RestCode.NOT_ALLOWED, message, HTTPStatus.FORBIDDEN)
    if origin is not None and urlsplit(origin).netloc != host:
        message = f"The request was made by a page of {origin}. Changes are taken from the page of this router only."
        raise BadHttpRequest(RestCode.NOT_ALLOWED, message, HTTPStatus.FORBIDDEN)


def _why_elsewhere(headers: Mapping[str, str], client_host: str, host: str) -> str:
    if not _is_loopback(client_host):
        return f"The request comes from {client_host or 'an unknown address'}."
    proxies = [name for name in _FORWARDED if name in headers]
    if proxies:
        return f"The request came through a proxy (header {proxies[0]})."
    if not _is_loopback(urlsplit(f"//{host}").hostname or ""):
        return f"The request was made to '{host}'."
    return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
