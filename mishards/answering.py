"""What a router and a node do around each call alike: who may, what an error becomes, and who is told of the end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from mishards.errors import Code, MishardsError
from mishards.logs.calls import Ended, RequestIds, Served
from mishards.security.guard import Guard
from mishards.transport.api import Call
from mishards.wire.replies import METHODS, error_reply, status_of

log = logging.getLogger(__name__)

Serve = Callable[[Call], Awaitable[bytes]]
Status = Callable[[str, bytes], tuple[Code | int, str]]


class Answering:
    """The boundary of a program's calls. Belongs to the event loop."""

    def __init__(
        self,
        serve: Serve,
        ended: Sequence[Ended] = (),
        guard: Guard | None = None,
        status: Status = status_of,
    ) -> None:
        """Everyone in ``ended`` is told of every call that has ended; without a guard everybody may do everything.

        ``status`` reads code and reason of the reply to a method; what it raises is answered in the reply's place.
        """
        self._serve = serve
        self._ended = tuple(ended)
        self._guard = None if guard is None or guard.idle else guard
        self._status = status
        self._ids = RequestIds()

    async def answer(self, call: Call) -> bytes:
        """Serve a call; errors of the protocol become the reply's status, others the call's gRPC status."""
        began = time.monotonic()
        served = Served(call, self._ids.assign(call), None, "", 0.0)
        try:
            if self._guard is None:
                reply = await self._serve(call)
            else:
                with self._guard.admitted(call):
                    reply = await self._serve(call)
            served.code, served.reason = self._status(call.method, reply)
            return reply
        except MishardsError as error:
            served.code, served.reason = error.code, str(error)
            if error.rpc_status is not None or call.method not in METHODS:
                raise
            return error_reply(call.method, error)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # the RPC boundary: a bug must answer, not hang the client or end its connection
            log.exception("%s failed in a way that is a bug", call.method)
            served.code, served.reason = Code.UNEXPECTED_ERROR, f"bug: {error!r}"
            return error_reply(call.method, MishardsError(f"internal error: {error}"))
        finally:
            served.seconds = time.monotonic() - began
            for ended in self._ended:
                ended(served)
