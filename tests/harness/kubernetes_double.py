"""A double of a Kubernetes API server, written from the public documentation; none is to be had here.

It has list and watch of EndpointSlices and pods in namespaces, with label selectors of the form ``a=b,c=d``, versions,
bookmarks, 410 for a version that is no longer kept, and merge patches of a pod's annotations. It keeps no other objects
and checks no rights but a bearer token that may be required.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from harness.http_double import HttpDouble, Reply, Request

Object = dict[str, Any]

_KINDS = {"endpointslices": "EndpointSlice", "pods": "Pod"}


def _status(code: int, message: str) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}


class KubernetesDouble(HttpDouble):
    """One server."""

    def __init__(self, token: str = "") -> None:
        """``token`` must be sent with every request, where there is one."""
        self.token = token
        self._version = 100
        self._kept_from = 0
        self._ends = 0
        self._last_words = ""
        self.gone_in_reply = False
        """Say that a version is gone by the reply's status, not by an event."""
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._events: list[tuple[int, str, tuple[str, str, str], Object]] = []
        super().__init__()

    def answer(self, request: Request) -> Reply:
        """List, watch or patch."""
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return Reply(401, _status(401, "Unauthorized"))
        namespace, _, rest = request.path.partition("/namespaces/")[2].partition("/")
        resource, _, name = rest.partition("/")
        if resource not in _KINDS:
            return Reply(404, _status(404, "the server could not find the requested resource"))
        if request.method == "PATCH":
            return self._patch((namespace, resource, name), request)
        if "watch" in request.query:
            return self._watch((namespace, resource), request.query)
        with self.changed:
            found = self._matching(namespace, resource, request.query)
            metadata = {"resourceVersion": str(self._version)}
            return Reply(200, {"kind": f"{_KINDS[resource]}List", "metadata": metadata, "items": found})

    def put(self, namespace: str, resource: str, *objects: Object) -> None:
        """Make these the objects of a kind, and no others."""
        with self.changed:
            wanted = {(namespace, resource, item["metadata"]["name"]): item for item in objects}
            for key in [key for key in self._objects if key[:2] == (namespace, resource) and key not in wanted]:
                self._note("DELETED", key, self._objects.pop(key))
            for key, item in wanted.items():
                there = self._objects.get(key)
                if there is None or {**there, "metadata": item["metadata"]} != item:
                    self._store(key, item)
            self.changed.notify_all()

    def forget(self) -> None:
        """Keep no old versions, and end the watches: whoever goes on from one is told that it is gone."""
        with self.changed:
            self._version += 1
            self._kept_from = self._version
            self._end_watches("")

    def cut(self) -> None:
        """End every watch in the middle of a line."""
        with self.changed:
            self._end_watches('{"type": "MODIFIED", "object": {"metad')

    def _end_watches(self, last_words: str) -> None:
        self._ends, self._last_words = self._ends + 1, last_words
        self.changed.notify_all()

    def bookmark(self) -> None:
        """Let the version go on without a change to anything, and tell the watches."""
        with self.changed:
            self._note("BOOKMARK", ("", "", ""), {"kind": "Bookmark", "metadata": {}})
            self.changed.notify_all()

    def get(self, namespace: str, resource: str, name: str) -> Object:
        """A copy of an object."""
        with self.changed:
            return copy.deepcopy(self._objects[namespace, resource, name])

    def watches(self) -> list[Request]:
        """The watches that were begun so far."""
        with self.changed:
            return [request for request in self.requests if "watch" in request.query]

    def _store(self, key: tuple[str, str, str], item: Object) -> None:
        kind = "MODIFIED" if key in self._objects else "ADDED"
        self._objects[key] = self._note(kind, key, item)

    def _note(self, kind: str, key: tuple[str, str, str], item: Object) -> Object:
        self._version += 1
        stored = copy.deepcopy(item)
        stored["metadata"]["resourceVersion"] = str(self._version)
        self._events.append((self._version, kind, key, stored))
        return stored

    def _matching(self, namespace: str, resource: str, query: Mapping[str, str]) -> list[Object]:
        return [item for key, item in self._objects.items() if key[:2] == (namespace, resource) and _fits(item, query)]

    def _patch(self, key: tuple[str, str, str], request: Request) -> Reply:
        if request.headers.get("Content-Type") != "application/merge-patch+json":
            return Reply(415, _status(415, "unsupported media type"))
        with self.changed:
            if key not in self._objects:
                return Reply(404, _status(404, f'pods "{key[2]}" not found'))
            item = copy.deepcopy(self._objects[key])
            annotations = item["metadata"].setdefault("annotations", {})
            for name, value in request.body["metadata"]["annotations"].items():
                annotations.pop(name, None)
                if value is not None:
                    annotations[name] = value
            self._store(key, item)
            self.changed.notify_all()
            return Reply(200, item)

    def _watch(self, place: tuple[str, str], query: Mapping[str, str]) -> Reply:
        version = int(query["resourceVersion"])
        with self.changed:
            if version < self._kept_from:
                gone = _status(410, f"too old resource version: {version} ({self._version})")
                return Reply(410, gone) if self.gone_in_reply else Reply(200, stream=iter([_line("ERROR", gone)]))
            return Reply(200, stream=self._lines(place, query, version, self._ends))

    def _lines(self, place: tuple[str, str], query: Mapping[str, str], version: int, ends: int) -> Iterator[str]:
        end = time.monotonic() + float(query["timeoutSeconds"])
        while True:
            with self.changed:
                while self._version == version and not self._is_over(ends):
                    if time.monotonic() >= end:
                        return
                    self.changed.wait(0.02)
                if self._is_over(ends):
                    break
                news = [event for event in self._events if event[0] > version]
                version = self._version
            yield from (_line(kind, item) for _, kind, key, item in news if _concerns(kind, key, item, place, query))
        if self._last_words:
            yield self._last_words

    def _is_over(self, ends: int) -> bool:
        return self._ends != ends or self.closed or self.failure is not None


def _concerns(
    kind: str, key: tuple[str, str, str], item: Object, place: tuple[str, str], query: Mapping[str, str]
) -> bool:
    return kind == "BOOKMARK" or (key[:2] == place and _fits(item, query))


def _fits(item: Object, query: Mapping[str, str]) -> bool:
    labels = item["metadata"].get("labels", {})
    wanted = [piece.partition("=") for piece in query.get("labelSelector", "").split(",") if piece]
    return all(labels.get(name) == value for name, _, value in wanted)


def _line(kind: str, item: Object) -> str:
    return json.dumps({"type": kind, "object": item}) + "\n"
