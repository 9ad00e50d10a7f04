"""Callers in this process, in a closed loop: each calls again as soon as it is answered. On our own transport."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from mishards.deadline import Deadline
from mishards.transport.choice import transport_of
from mishards.transport.loop import run_on
from mishards.wire.protos import milvus_pb2 as pb

_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Called:
    """What the calls did that were answered in the time measured."""

    took_ms: tuple[float, ...]
    seconds: float
    calls: int
    """All of them, those outside that time too."""

    @property
    def per_s(self) -> float:
        """Throughput."""
        return len(self.took_ms) / self.seconds

    @property
    def p50_ms(self) -> float:
        """The median latency."""
        return statistics.median(self.took_ms)

    @property
    def p99_ms(self) -> float:
        """The latency that one in a hundred exceeds."""
        return sorted(self.took_ms)[int(0.99 * (len(self.took_ms) - 1))]


def call(address: str, method: str, requests: Sequence[bytes], callers: int, seconds: float) -> Called:
    """Call for so long, and until there is an answer, after a tenth of it that is not counted.

    Each answer must say that all is well.
    """
    return run_on("auto", _call(address, method, requests, callers, seconds))


async def _call(address: str, method: str, requests: Sequence[bytes], callers: int, seconds: float) -> Called:
    begin = time.perf_counter() + seconds / 10
    end, calls = begin + seconds, 0
    took: list[float] = []

    async def caller(number: int) -> None:
        nonlocal calls
        at = number
        channel = transport_of("h2").channel(address)
        while (start := time.perf_counter()) < end or not took:
            reply = await channel.call(method, requests[at % len(requests)], deadline=Deadline.after(_TIMEOUT_S))
            ended = time.perf_counter()
            if begin <= ended and (ended < end or not took):
                took.append((ended - start) * 1e3)
            at, calls = at + callers, calls + 1
            status = pb.BoolReply.FromString(reply).status if len(reply) < 4096 else None
            if status is not None and status.error_code:
                raise SystemExit(f"{method}: {status.reason}")
        await channel.close()

    await asyncio.gather(*(caller(number) for number in range(callers)))
    return Called(tuple(took), seconds, calls)
