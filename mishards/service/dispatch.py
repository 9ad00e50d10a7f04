"""From a method's name to the coroutine that serves it; errors to replies; whoever keeps account is told of the end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from mishards.errors import Code, MishardsError, UnknownMethod
from mishards.logs import notes
from mishards.logs.calls import Ended, RequestIds, Served
from mishards.security.guard import Guard
from mishards.service.admission import Admission, CallClass
from mishards.transport.api import Call
from mishards.wire.replies import METHODS, error_reply, status_of

log = logging.getLogger(__name__)

Serve = Callable[[Call], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Entry:
    """Who serves a method, and what it competes with."""

    serve: Serve
    kind: CallClass


class Dispatcher:
    """The handler of the router's server. Belongs to the event loop."""

    def __init__(
        self,
        entries: Mapping[str, Entry],
        admission: Admission,
        ended: Sequence[Ended] = (),
        guard: Guard | None = None,
    ) -> None:
        """Everyone in ``ended`` is told of every call that has ended; without a guard everybody may do everything."""
        self._entries = entries
        self._admission = admission
        self._guard = None if guard is None or guard.idle else guard
        self._ended = tuple(ended)
        self._ids = RequestIds()

    async def __call__(self, call: Call) -> bytes:
        """Serve a call; errors of the protocol become the reply's status, others the call's gRPC status."""
        began = time.monotonic()
        notes.begin(call.notes)
        served = Served(call, self._ids.assign(call), None, "", 0.0)
        try:
            reply = await self._served(call)
            served.code, served.reason = status_of(call.method, reply)
            return reply
        except MishardsError as error:
            served.code, served.reason = error.code, str(error)
            if error.rpc_status is not None or call.method not in METHODS:
                raise
            return error_reply(call.method, error)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # the RPC boundary: a bug must answer, not hang the client
            log.exception("%s failed in a way that is a bug", call.method)
            served.code, served.reason = Code.UNEXPECTED_ERROR, f"bug: {error!r}"
            return error_reply(call.method, MishardsError(f"internal error: {error}"))
        finally:
            served.seconds = time.monotonic() - began
            for ended in self._ended:
                ended(served)

    async def _served(self, call: Call) -> bytes:
        if self._guard is None:
            return await self._admitted(call)
        with self._guard.admitted(call):
            return await self._admitted(call)

    async def _admitted(self, call: Call) -> bytes:
        entry = self._entries.get(call.method)
        if entry is None:
            raise UnknownMethod(call.method)
        with self._admission.admitted(entry.kind):
            return await entry.serve(call)
