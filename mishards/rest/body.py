"""Reading the body of a request: no more than is allowed, from a client that keeps sending."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

from mishards.rest.errors import BadHttpRequest, RestCode

_SILENCE_S = 60.0
"""A client that sends nothing for so long has gone."""
_DRAIN_S = 5.0
"""What is too large is still taken for so long, because a client that is cut off while it sends reads no answer."""


async def read_body(request: Request, max_bytes: int) -> bytearray:
    """Return the whole body; a ``max_bytes`` of -1 is no limit.

    Raises:
        BadHttpRequest: it is larger than ``max_bytes``, or stops coming.
        ClientDisconnect: the client went away.
    """
    body = bytearray()
    announced = request.headers.get("content-length", "")
    if not announced and "transfer-encoding" not in request.headers:
        return body
    too_large = BadHttpRequest(
        RestCode.ILLEGAL_BODY,
        f"The request body is larger than {max_bytes} bytes. Send less at once.",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    )
    if max_bytes >= 0 and announced.isdigit() and int(announced) > max_bytes:
        if "expect" not in request.headers:  # else it has not begun to send
            await _drain(request)
        raise too_large
    more = True
    while more:
        chunk, more = await _chunk(request, len(body))
        body += chunk
        if 0 <= max_bytes < len(body):
            await _drain(request)
            raise too_large
    return body


async def _chunk(request: Request, so_far: int) -> tuple[bytes, bool]:
    try:
        message = await asyncio.wait_for(request.receive(), _SILENCE_S)
    except asyncio.TimeoutError:
        text = f"The request body stopped coming after {so_far} bytes."
        raise BadHttpRequest(RestCode.BODY_PARSE_FAIL, text, HTTPStatus.REQUEST_TIMEOUT) from None
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


async def _drain(request: Request) -> None:
    async def discard() -> None:
        while (await _chunk(request, 0))[1]:
            pass

    with contextlib.suppress(asyncio.TimeoutError, ClientDisconnect, BadHttpRequest):
        await asyncio.wait_for(discard(), _DRAIN_S)
