"""A double of the Leases of a Kubernetes API server, written from the public documentation; none is to be had here.

It gets, creates and replaces Lease objects, with versions and the conflicts that they make (409), and knows nothing of
time: a Lease is a record, and whether it has run out is for those to say who watch it.
"""

from __future__ import annotations

import copy
from typing import Any

from harness.http_double import HttpDouble, Reply, Request

_PATH = "/apis/coordination.k8s.io/v1/namespaces/"


def _status(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}


class LeaseDouble(HttpDouble):
    """One server."""

    def __init__(self) -> None:
        self.leases: dict[tuple[str, str], dict[str, Any]] = {}
        self._version = 100
        super().__init__()

    def answer(self, request: Request) -> Reply:
        """Get, create or replace."""
        namespace, _, rest = request.path.removeprefix(_PATH).partition("/")
        resource, _, name = rest.partition("/")
        if not request.path.startswith(_PATH) or resource != "leases":
            return Reply(404, _status(404, "the server could not find the requested resource"))
        with self.changed:
            if request.method == "GET":
                found = self.leases.get((namespace, name))
                return Reply(404, _status(404, "not found")) if found is None else Reply(200, copy.deepcopy(found))
            return self._put(namespace, name, request)

    def _put(self, namespace: str, name: str, request: Request) -> Reply:
        sent = copy.deepcopy(request.body)
        there = self.leases.get((namespace, name or sent["metadata"]["name"]))
        if request.method == "POST" and there is not None:
            return Reply(409, _status(409, "already exists"))
        if request.method == "PUT":
            if there is None:
                return Reply(404, _status(404, "not found"))
            if sent["metadata"].get("resourceVersion") not in (None, there["metadata"]["resourceVersion"]):
                return Reply(409, _status(409, "the object has been modified"))
        self._version += 1
        sent["metadata"]["resourceVersion"] = str(self._version)
        self.leases[namespace, sent["metadata"]["name"]] = sent
        return Reply(201 if request.method == "POST" else 200, copy.deepcopy(sent))
