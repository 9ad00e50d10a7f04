"""From a method's name to the coroutine that serves it; errors to replies; whoever keeps account is told of the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from mishards.answering import Answering
from mishards.errors import UnknownMethod
from mishards.logs import notes
from mishards.logs.calls import Ended
from mishards.security.guard import Guard
from mishards.service.admission import Admission, CallClass
from mishards.transport.api import Begin, Call, GiveUp, Outcome

Serve = Callable[[Call], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Entry:
    """Who serves a method, what it competes with, and the short way where there is one."""

    serve: Serve
    kind: CallClass
    begin: Begin | None = None


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
        self._leave = {kind: partial(admission.leave, kind) for kind in CallClass}
        self._answering = Answering(self._admitted, ended, guard)

    async def __call__(self, call: Call) -> bytes:
        """Serve a call; errors of the protocol become the reply's status, others the call's gRPC status."""
        notes.begin(call.notes)
        return await self._answering.answer(call)

    def begin(self, call: Call, outcome: Outcome) -> GiveUp | None:
        """Serve a call the short way, as ``Begin`` of the transport says."""
        entry = self._entries.get(call.method)
        if entry is None or entry.begin is None or not self._admission.has_room(entry.kind):
            return None
        given_up = self._answering.begin(call, outcome, entry.begin, self._leave[entry.kind])
        if given_up is not None:
            self._admission.enter(entry.kind)
        return given_up

    async def _admitted(self, call: Call) -> bytes:
        entry = self._entries.get(call.method)
        if entry is None:
            raise UnknownMethod(call.method)
        with self._admission.admitted(entry.kind):
            return await entry.serve(call)
