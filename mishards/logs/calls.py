"""Each call: its id, what is known of it when it has ended, and its one line in the log."""

from __future__ import annotations

import itertools
import logging
import math
import re
import secrets
import time
from collections.abc import Callable
from typing import Final

from mishards.errors import Code
from mishards.logs.options import LogOptions
from mishards.logs.output import Facts
from mishards.transport.api import Call

log = logging.getLogger("mishards.access")

REQUEST_ID: Final = "request_id"
"""Metadata: the id of a call, as Milvus names it; what routers pass on to nodes."""

X_REQUEST_ID: Final = "x-request-id"
"""The same as most others name it; accepted and answered beside it."""

_KEYS: Final = (REQUEST_ID, X_REQUEST_ID)

_NAMES: Final[dict[int, str]] = {code: code.name for code in Code}

_ID = re.compile(r"[!-~]{1,128}")


class Served:
    """A call that has ended."""

    __slots__ = ("call", "code", "reason", "request_id", "seconds")

    def __init__(self, call: Call, request_id: str, code: Code | int | None, reason: str, seconds: float) -> None:
        self.call = call
        self.request_id = request_id
        self.code = code
        """Of the protocol; None where the caller went away before there was an answer."""
        self.reason = reason
        self.seconds = seconds

    @property
    def outcome(self) -> str:
        """The code by its name."""
        if self.code is None:
            return "CANCELLED"
        return _NAMES.get(self.code) or str(int(self.code))


Ended = Callable[[Served], None]
"""Told of every call that has ended; must be quick, and must not raise."""


class RequestIds:
    """Gives every call an id. Ids of two processes differ."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(6)
        self._numbers = itertools.count(1)

    def assign(self, call: Call) -> str:
        """The id that the caller chose, or a new one; it goes on with the call's metadata, and back with the reply.

        Not back to who sent it as ``request_id``, as Milvus has it: routers do, and would have to read each.
        """
        if call.request_id:
            return call.request_id
        given, others = "", []
        for entry in call.metadata:
            key, value = entry
            if key not in _KEYS:
                others.append(entry)
            elif key == REQUEST_ID or not given:
                given = value
        sent = (REQUEST_ID, given) in call.metadata
        if not (given and _ID.fullmatch(given)):
            given, sent = f"{self._prefix}-{next(self._numbers):x}", False
        call.request_id = given
        call.metadata = (*others, (REQUEST_ID, given))
        if not sent:
            call.reply_metadata += ((REQUEST_ID, given), (X_REQUEST_ID, given))
        return given


class Sampler:
    """Which of many lines to write; pure, but for what it remembers.

    As many as a second may have are all written. After a second that had more, every n-th is, so that about as many
    remain; and never twice as many.
    """

    def __init__(self, per_second: int) -> None:
        """``per_second``: 0 is no limit."""
        self._limit = per_second
        self._second = -1
        self._seen = self._written = 0
        self._every = 1
        self.skipped = 0
        """Lines not written since the last one that was."""

    def admits(self, now: float) -> bool:
        """Shall a line be written at this time, in monotonic seconds?"""
        if not self._limit:
            return True
        second = int(now)
        if second != self._second:
            lasting = second == self._second + 1
            self._every = max(1, math.ceil(self._seen / self._limit)) if lasting else 1
            self._second, self._seen, self._written = second, 0, 0
        self._seen += 1
        if self._seen % self._every or self._written >= 2 * self._limit:
            self.skipped += 1
            return False
        self._written += 1
        return True


class AccessLog:
    """Writes one line for each call; when many come, for a sample of them. Belongs to one thread.

    Failed calls are sampled by themselves: successes do not crowd them out. What a client sent, beyond the names and
    numbers that it asks for, is never written.
    """

    def __init__(self, options: LogOptions, quiet: frozenset[str] = frozenset()) -> None:
        """``quiet`` methods are logged at level debug, unless they fail."""
        self._on = options.requests
        self._quiet = quiet
        self._samplers = {True: Sampler(options.requests_per_s), False: Sampler(options.requests_per_s)}
        self.skipped = 0
        """Lines not written since the start."""

    def ended(self, served: Served) -> None:
        """Write the line of a call, or leave it out."""
        succeeded = served.code == Code.SUCCESS
        level = logging.DEBUG if succeeded and served.call.method in self._quiet else logging.INFO
        if not (self._on and log.isEnabledFor(level)):
            return
        sampler = self._samplers[succeeded]
        if not sampler.admits(time.monotonic()):
            self.skipped += 1
            return
        log.log(level, "rpc %s", Facts(facts_of(served, sampler.skipped)))
        sampler.skipped = 0


def facts_of(served: Served, skipped: int = 0) -> dict[str, object]:
    """What the line of a call says; ``skipped`` lines of its kind were left out before it."""
    call = served.call
    facts: dict[str, object] = {
        "method": call.method,
        "request_id": served.request_id,
        "peer": call.peer,
        "bytes": len(call.request),
        **call.notes,
        "ms": served.seconds * 1000,
        "code": "cancelled" if served.code is None else int(served.code),
    }
    if served.reason and served.code:
        facts["reason"] = served.reason
    if skipped:
        facts["skipped"] = skipped
    return facts
