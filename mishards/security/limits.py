"""Limits of each client: calls a second, and calls under way. Pure: the time comes in as a number.

What is remembered is bounded: of more clients than ``MOST_CLIENTS`` the one that was silent the longest, with nothing
under way, is forgotten, and begins anew when it comes back.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

MOST_CLIENTS = 10_000


@dataclass(slots=True)
class _Client:
    allowance: float
    seen: float
    under_way: int = 0


class ClientLimits:
    """Token buckets and counters by the name of a client."""

    def __init__(self, calls_per_s: float, burst: int, max_calls: int, most_clients: int = MOST_CLIENTS) -> None:
        """A limit of 0 is none; ``burst`` calls may come at once where calls a second are limited."""
        self._rate = calls_per_s
        self._burst = float(max(burst, 1))
        self._max_calls = max_calls
        self._most = most_clients
        self._clients: OrderedDict[str, _Client] = OrderedDict()

    @property
    def limited(self) -> bool:
        """Is there a limit at all?"""
        return bool(self._rate or self._max_calls)

    def __len__(self) -> int:
        return len(self._clients)

    def enter(self, name: str, now: float) -> str:
        """Count a call in; return why it may not be made, or nothing. ``now`` is in monotonic seconds."""
        client = self._clients.get(name)
        if client is None:
            self._make_room()
            client = self._clients[name] = _Client(self._burst, now)
        self._clients.move_to_end(name)
        if self._max_calls and client.under_way >= self._max_calls:
            return f"{client.under_way} calls of this client are under way, which is the limit"
        if self._rate:
            client.allowance = min(self._burst, client.allowance + (now - client.seen) * self._rate)
            client.seen = now
            if client.allowance < 1:
                return f"this client makes more than {self._rate:g} calls a second, which is the limit"
            client.allowance -= 1
        client.under_way += 1
        return ""

    def leave(self, name: str) -> None:
        """A call that was counted in has ended."""
        self._clients[name].under_way -= 1

    def _make_room(self) -> None:
        if len(self._clients) < self._most:
            return
        idle = next((name for name, client in self._clients.items() if not client.under_way), None)
        if idle is not None:
            del self._clients[idle]
