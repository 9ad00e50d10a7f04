"""A double of a Consul agent, written from the public documentation of its HTTP API; no Consul is to be had here.

It has what discovery needs: ``/v1/health/service/NAME`` with ``passing``, ``tag``, ``dc`` and blocking queries
(``index``, ``wait``, ``X-Consul-Index``), and at the agent the registration of services with a check by TTL,
``check/pass`` and ``deregister``. It has one datacenter, no other kinds of checks, no ACL but a token that may be
required.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.http_double import HttpDouble, Reply, Request

NO_LEADER = Reply(500, "No cluster leader")
"""What an agent answers while its servers elect a leader."""


@dataclass
class _Instance:
    service: dict[str, Any]
    check: str = ""
    ttl_s: float = float("inf")
    passed_at: float = 0.0

    def passes(self) -> bool:
        return time.monotonic() < self.passed_at + self.ttl_s


class ConsulDouble(HttpDouble):
    """One agent. ``index`` is the state's; setting it back is what a restored snapshot does."""

    def __init__(self, dc: str = "dc1", token: str = "") -> None:
        """``token`` must be sent with every request, where there is one."""
        self._dc, self._token = dc, token
        self._instances: dict[str, _Instance] = {}
        self._passing: frozenset[str] = frozenset()
        self.index = 10
        super().__init__()

    def answer(self, request: Request) -> Reply:
        """Look at the path."""
        if self._token and request.headers.get("X-Consul-Token") != self._token:
            return Reply(403, "Permission denied")
        head, _, name = request.path.removeprefix("/v1/").rpartition("/")
        if head == "health/service":
            return self._health(name, request.query)
        with self.changed:
            if (head, name) == ("agent/service", "register"):
                self._register(request.body)
            elif head == "agent/check/pass" and not self._pass(name):
                return Reply(404, f'Unknown check ID "{name}". Ensure that the check ID is passed')
            elif head == "agent/service/deregister" and self._instances.pop(name, None) is None:
                return Reply(404, f'Unknown service ID "{name}"')
            elif head not in ("agent/check/pass", "agent/service/deregister"):
                return Reply(404, "")
            self._touch()
        return Reply(200, "")

    def register(self, *services: Mapping[str, Any]) -> None:
        """Have exactly these services, without checks, in one step."""
        with self.changed:
            self._instances = {service["ID"]: _Instance({"Address": "", **service}) for service in services}
            self._touch()

    def forget(self) -> None:
        """Lose every registration, as an agent that starts with an empty disk."""
        self.register()

    def go_back(self, index: int) -> None:
        """Set the index back, and answer whoever waits."""
        with self.changed:
            self.index = index
            self.changed.notify_all()

    def instances(self) -> dict[str, dict[str, Any]]:
        """What is registered, by id."""
        with self.changed:
            return {name: instance.service for name, instance in self._instances.items()}

    def _register(self, body: dict[str, Any]) -> None:
        check = body.get("Check", {})
        self._instances[body["ID"]] = _Instance(
            {key: value for key, value in body.items() if key != "Check"},
            check.get("CheckID", f"service:{body['ID']}"),
            float(check["TTL"].removesuffix("s")) if check else float("inf"),
            time.monotonic() if check.get("Status") == "passing" else 0.0,
        )

    def _pass(self, check: str) -> bool:
        found = [instance for instance in self._instances.values() if instance.check == check]
        for instance in found:
            instance.passed_at = time.monotonic()
        return bool(found)

    def _touch(self) -> None:
        self.index += 1
        self.changed.notify_all()

    def _health(self, name: str, query: Mapping[str, str]) -> Reply:
        if query.get("dc", self._dc) != self._dc:
            return Reply(500, "No path to datacenter")
        asked, wait_s = int(query.get("index", "0")), float(query.get("wait", "300s").removesuffix("s"))
        end = time.monotonic() + wait_s
        with self.changed:
            while self._expire() == asked and not self.closed and self.failure is None:
                if time.monotonic() >= end:
                    break
                self.changed.wait(0.02)
            found = [self._described(instance) for instance in self._selected(name, query)]
            return Reply(200, found, {"X-Consul-Index": str(self.index)})

    def _expire(self) -> int:
        """The index, after the checks whose time is over have changed it."""
        passing = frozenset(number for number, instance in self._instances.items() if instance.passes())
        if passing != self._passing:
            self._passing = passing
            self.index += 1
        return self.index

    def _selected(self, name: str, query: Mapping[str, str]) -> list[_Instance]:
        return [
            instance
            for instance in self._instances.values()
            if instance.service["Name"] == name
            and (instance.passes() or "passing" not in query)
            and query.get("tag", "") in ("", *instance.service.get("Tags", ()))
        ]

    def _described(self, instance: _Instance) -> dict[str, Any]:
        service = {key: value for key, value in instance.service.items() if key != "Name"}
        return {
            "Node": {"Node": "machine", "Address": "10.9.8.7", "Datacenter": self._dc},
            "Service": {"Service": instance.service["Name"], **service},
            "Checks": [{"CheckID": "serfHealth", "Status": "passing"}],
        }
