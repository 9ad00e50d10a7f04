"""From a method's name to the coroutine that serves it; errors to replies; whoever keeps account is told of the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from mishards.answering import Answering
from mishards.errors import UnknownMethod
from mishards.logs import notes
from mishards.logs.calls import Ended
from mishards.security.guard import Guard
from mishards.service.admission import Admission, CallClass
from mishards.transport.api import Call

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
        self._answering = Answering(self._admitted, ended, guard)

    async def __call__(self, call: Call) -> bytes:
        """Serve a call; errors of the protocol become the reply's status, others the call's gRPC status."""
        notes.begin(call.notes)
        return await self._answering.answer(call)

    async def _admitted(self, call: Call) -> bytes:
        entry = self._entries.get(call.method)
        if entry is None:
            raise UnknownMethod(call.method)
        with self._admission.admitted(entry.kind):
            return await entry.serve(call)
