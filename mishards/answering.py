"""What a router and a node do around each call alike: who may, what an error becomes, and who is told of the end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from mishards.errors import Code, MishardsError
from mishards.logs.calls import Ended, RequestIds, Served
from mishards.security.guard import Guard
from mishards.transport.api import Begin, Call, GiveUp, Outcome
from mishards.wire.replies import METHODS, SUCCESS_REASON, error_reply, is_success, status_of

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
            return self._failed(served, error)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the RPC boundary
            return self._broken(served, error)
        finally:
            self.tell(served, began)

    def begin(self, call: Call, outcome: Outcome, begin: Begin, over: Callable[[], None]) -> GiveUp | None:
        """The same the short way, as ``Begin`` of the transport says. There is none where callers are looked at.

        ``over`` is called when the call has ended, if it was begun.
        """
        if self._guard is not None:
            return None
        served = Served(call, self._ids.assign(call), None, "", 0.0)
        under_way = _UnderWay(self, served, outcome, over)
        try:
            under_way.given_up = begin(call, under_way.ended)
        except Exception:  # the RPC boundary: a bug must not end the connection; the usual way answers
            log.exception("%s failed in a way that is a bug", call.method)
        return None if under_way.given_up is None else under_way.give_up

    def finished(self, served: Served, reply: bytes, error: MishardsError | None) -> tuple[bytes, MishardsError | None]:
        """What the caller gets of a call that took the short way."""
        try:
            if error is None:
                served.code, served.reason = self._status(served.call.method, reply)
                return reply, None
            return self._failed(served, error), None
        except MishardsError as final:
            return b"", final
        except Exception as bug:  # noqa: BLE001 - the RPC boundary
            return self._broken(served, bug), None

    def tell(self, served: Served, began: float) -> None:
        """Tell of a call that has ended."""
        served.seconds = time.monotonic() - began
        for ended in self._ended:
            ended(served)

    def _failed(self, served: Served, error: MishardsError) -> bytes:
        served.code, served.reason = error.code, str(error)
        if error.rpc_status is not None or served.call.method not in METHODS:
            raise error
        return error_reply(served.call.method, error)

    def _broken(self, served: Served, error: Exception) -> bytes:
        """The RPC boundary: a bug must answer, not hang the client or end its connection."""
        method = served.call.method
        log.error("%s failed in a way that is a bug", method, exc_info=error)
        served.code, served.reason = Code.UNEXPECTED_ERROR, f"bug: {error!r}"
        return error_reply(method, MishardsError(f"internal error: {error}"))


class _UnderWay:
    """A call that takes the short way."""

    __slots__ = ("_answering", "_began", "_outcome", "_over", "_served", "given_up")

    def __init__(self, answering: Answering, served: Served, outcome: Outcome, over: Callable[[], None]) -> None:
        self._answering = answering
        self._served = served
        self._outcome = outcome
        self._over = over
        self._began = time.monotonic()
        self.given_up: GiveUp | None = None

    def ended(self, reply: bytes, error: MishardsError | None) -> None:
        """The outcome came."""
        self.given_up = None
        served = self._served
        if error is None and is_success(reply):
            served.code, served.reason = Code.SUCCESS, SUCCESS_REASON
        else:
            reply, error = self._answering.finished(served, reply, error)
        self._over()
        self._answering.tell(served, self._began)
        self._outcome(reply, error)

    def give_up(self) -> None:
        """The caller went away."""
        given_up, self.given_up = self.given_up, None
        if given_up is not None:
            given_up()
            self._over()
            self._answering.tell(self._served, self._began)
