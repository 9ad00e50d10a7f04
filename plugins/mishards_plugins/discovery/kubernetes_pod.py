"""A pod that announces itself: its record, as an annotation of its own.

Whether the pod lives is the platform's to say, so nothing expires here: discoveries pass over what a pod announced that
is not ready or is being deleted.
"""

from __future__ import annotations

from typing import Any

import httpx

from mishards.discovery.api import NodeRecord
from mishards.discovery.record import encode
from mishards.errors import BadNodeRecord, DiscoveryError
from mishards_plugins.discovery.http_watch import FAILURES, refusal
from mishards_plugins.discovery.kubernetes_objects import ANNOTATION, Object, announced_by, lives
from mishards_plugins.discovery.kubernetes_watch import KubernetesOptions

_MERGE = {"Content-Type": "application/merge-patch+json"}


class PodEntry:
    """The annotation of one pod."""

    every_s = 10.0
    takeover_s = 0.0
    """Nobody need wait: a pod that has died is known to be dead."""

    def __init__(self, options: KubernetesOptions) -> None:
        self._options = options
        self._http = options.access().client()
        self._is_put = False

    def place(self, node: str) -> str:
        """The pod."""
        return f"{node} in another pod than {self._options.namespace}/{self._options.pod}"

    def put(self, node: NodeRecord) -> bool:
        """Have the annotation stand as it should; False when another living pod has announced the name.

        Raises:
            DiscoveryError: the server cannot be asked, or refuses.
        """
        raw, own = encode(node).decode(), self._options.pod
        try:
            pods = self._ask("GET", self._options.pods_path, params=self._options.selection()).json()["items"]
            others = [pod for pod in pods if pod["metadata"]["name"] != own]
            if any(lives(pod) and _announces(pod, node.name) for pod in others):
                return False
            mine = [pod for pod in pods if pod["metadata"]["name"] == own]
            there = (mine[0]["metadata"].get("annotations") or {}).get(ANNOTATION) if mine else None
        except FAILURES as error:
            if isinstance(error, DiscoveryError):
                raise
            raise DiscoveryError(f"{self._options.server} answers as no API server: {error!r}") from error
        if there != raw:
            self._annotate(raw)
        self._is_put = True
        return True

    def remove(self) -> None:
        """Take the annotation away. Raises DiscoveryError when the server cannot be asked, or refuses."""
        try:
            if self._is_put:
                self._annotate(None)
        finally:
            self._http.close()

    def _annotate(self, value: str | None) -> None:
        patch = {"metadata": {"annotations": {ANNOTATION: value}}}
        self._ask("PATCH", self._options.pod_path, json=patch, headers=_MERGE)

    def _ask(self, method: str, path: str, **parts: Any) -> httpx.Response:
        try:
            reply = self._http.request(method, self._options.server + path, **parts)
        except FAILURES as error:
            raise DiscoveryError(f"{self._options.server} does not do {method} {path}: {error!r}") from error
        if not reply.is_success:
            raise DiscoveryError(f"{self._options.server} does not do {method} {path}: {refusal(reply)}")
        return reply


def _announces(pod: Object, name: str) -> bool:
    try:
        node = announced_by(pod)
    except BadNodeRecord:
        return False
    return node is not None and node.name == name
