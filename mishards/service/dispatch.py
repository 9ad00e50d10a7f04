"""From a method's name to the coroutine that serves it; errors to replies; one log line a call."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from mishards.errors import MishardsError, UnknownMethod
from mishards.query import trace
from mishards.service.admission import Admission, CallClass
from mishards.transport.api import Call
from mishards.wire.replies import METHODS, error_reply, status_of

log = logging.getLogger(__name__)
access = logging.getLogger("mishards.access")

Serve = Callable[[Call], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Entry:
    """Who serves a method, and what it competes with."""

    serve: Serve
    kind: CallClass


class Dispatcher:
    """The handler of the router's server. Belongs to the event loop."""

    def __init__(self, entries: Mapping[str, Entry], admission: Admission) -> None:
        self._entries = entries
        self._admission = admission

    async def __call__(self, call: Call) -> bytes:
        """Serve a call; errors of the protocol become the reply's status, others the call's gRPC status."""
        began, notes = time.monotonic(), trace.begin()
        outcome = "cancelled"
        try:
            reply = await self._served(call)
            outcome = "0"
            if access.isEnabledFor(logging.INFO):
                code, reason = status_of(call.method, reply)
                outcome = f"{int(code)} reason={reason!r}" if code else outcome
            return reply
        except MishardsError as error:
            outcome = f"{int(error.code)} reason={str(error)!r}"
            if error.rpc_status is not None or call.method not in METHODS:
                raise
            return error_reply(call.method, error)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # the RPC boundary: a bug must answer, not hang the client
            log.exception("%s failed in a way that is a bug", call.method)
            outcome = f"1 bug={error!r}"
            return error_reply(call.method, MishardsError(f"internal error: {error}"))
        finally:
            if access.isEnabledFor(logging.INFO):
                access.info("%s", _line(call, notes, (time.monotonic() - began) * 1000, outcome))

    async def _served(self, call: Call) -> bytes:
        entry = self._entries.get(call.method)
        if entry is None:
            raise UnknownMethod(call.method)
        with self._admission.admitted(entry.kind):
            return await entry.serve(call)


def _line(call: Call, notes: Mapping[str, object], milliseconds: float, outcome: str) -> str:
    facts = "".join(f" {key}={value}" for key, value in notes.items())
    request_id = next((f" request_id={value}" for key, value in call.metadata if key == "request_id"), "")
    return (
        f"rpc method={call.method} peer={call.peer}{request_id} bytes={len(call.request)}{facts} "
        f"ms={milliseconds:.2f} code={outcome}"
    )
