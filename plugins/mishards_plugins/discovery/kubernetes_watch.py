"""The API server of Kubernetes, for the plugin ``kubernetes``: its address, and list and watch.

A list has a version; a watch goes on from it with one event a line, and may end at any time. Bookmarks only carry the
version on. A server that has forgotten the version says 410, in the reply or in an event: then everything is listed
again.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import httpx

from mishards.discovery.select import check_known_options
from mishards.errors import DiscoveryError, PluginError
from mishards_plugins.discovery.address import join_address, split_address
from mishards_plugins.discovery.http_watch import ANSWER_S, Access, SecretHeader, refusal
from mishards_plugins.discovery.kubernetes_objects import Object
from mishards_plugins.discovery.reports import Found
from mishards_plugins.discovery.security import TLS_OPTIONS, Secret, Tls, secret_of, secret_options, tls_of

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_IN_CLUSTER = "kubernetes.default.svc:443"
_EXAMPLE = "kubernetes:///NAMESPACE?selector=app=milvus-node"
_GONE = 410

Read = Callable[[Iterable[Object], str], Found]
"""The nodes of objects, given which port is theirs."""


@dataclass(frozen=True, slots=True)
class KubernetesOptions:
    """What the URI says; ``server`` is a URL."""

    server: str
    namespace: str
    selector: str = ""
    port: str = "grpc"
    watch_s: float = 30.0
    pod: str = ""
    tls: Tls | None = None
    token: Secret | None = None

    @property
    def pods_path(self) -> str:
        """Where the namespace's pods are."""
        return f"/api/v1/namespaces/{self.namespace}/pods"

    @property
    def pod_path(self) -> str:
        """Where the pod is that announces itself."""
        return f"{self.pods_path}/{quote(self.pod, safe='')}"

    def selection(self) -> dict[str, str]:
        """Which objects are asked for."""
        return {"labelSelector": self.selector} if self.selector else {}

    def access(self) -> Access:
        """How the server is spoken to. Raises PluginError when a file cannot be used."""
        auth = SecretHeader("Authorization", "Bearer ", self.token) if self.token is not None else None
        return Access(None if self.tls is None else self.tls.context(), auth)


def parse(uri: str, account: Path = _ACCOUNT) -> KubernetesOptions:
    """Read the URI. Raises PluginError."""
    parts = urlsplit(uri)
    query = parse_qs(parts.query, keep_blank_values=True)
    known = {"selector", "port", "watch_s", *TLS_OPTIONS, *secret_options("token")}
    check_known_options(uri, set(query), known | ({"pod"} if parts.scheme == "kubernetes+pods" else set()))
    is_inside, token = not parts.netloc, secret_of(uri, query, "token")
    try:
        namespace = unquote(parts.path).strip("/") or (account / "namespace").read_text(encoding="utf-8").strip()
        server = join_address(*split_address(parts.netloc or _IN_CLUSTER, 443))
        watch_s = float(query.get("watch_s", ["30"])[0])
    except (ValueError, OSError) as error:
        raise PluginError(f"{uri}: {error}; expected {_EXAMPLE}") from error
    if "/" in namespace or not 1 <= watch_s <= 3600:
        raise PluginError(f"{uri}: expected {_EXAMPLE}, and watch_s within 1..3600")
    if is_inside and token is None:
        token = Secret(file=str(account / "token"))
    tls = tls_of(uri, query, default=True, default_ca=str(account / "ca.crt") if is_inside else "")
    selector, port, pod = (query.get(name, [""])[0] for name in ("selector", "port", "pod"))
    scheme = "http" if tls is None else "https"
    return KubernetesOptions(
        f"{scheme}://{server}", namespace, selector, port or "grpc", watch_s, pod or socket.gethostname(), tls, token
    )


class ObjectWatch:
    """Lists and watches the objects at a path of the API."""

    def __init__(self, options: KubernetesOptions, path: str, read: Read) -> None:
        self._options = options
        self._path = path
        self._read = read

    async def follow(self, http: httpx.AsyncClient, server: str) -> AsyncGenerator[Found, None]:
        """The nodes, again after every change; ends when the watch breaks or the server has forgotten the version."""
        reply = await http.get(server + self._path, params=self._options.selection())
        if not reply.is_success:
            raise DiscoveryError(refusal(reply))
        listed = reply.json()
        objects = {_identity(item): item for item in listed["items"]}
        yield self._read(objects.values(), self._options.port)
        async with contextlib.aclosing(self._events(http, server, listed["metadata"]["resourceVersion"])) as events:
            with contextlib.suppress(httpx.TransportError, ValueError):  # it broke, perhaps in the middle of a line
                async for event in events:
                    if _applied(event, objects):
                        yield self._read(objects.values(), self._options.port)

    async def _events(self, http: httpx.AsyncClient, server: str, version: str) -> AsyncGenerator[Object, None]:
        """What happens after a version, over one watch after the other; ends when the version is forgotten.

        Raises:
            DiscoveryError: the server refuses to be watched.
        """
        # The server ends a watch that is over; one that does not has fallen silent.
        timeout = httpx.Timeout(ANSWER_S, read=self._options.watch_s + ANSWER_S)
        asked = {**self._options.selection(), "watch": "1", "allowWatchBookmarks": "true"}
        asked["timeoutSeconds"] = f"{self._options.watch_s:.0f}"
        while True:
            asked["resourceVersion"] = version
            async with http.stream("GET", server + self._path, params=asked, timeout=timeout) as reply:
                if reply.status_code == _GONE:
                    return
                if not reply.is_success:
                    await reply.aread()
                    raise DiscoveryError(refusal(reply))
                async for line in reply.aiter_lines():
                    event = json.loads(line)
                    if _is_gone(event):
                        return
                    version = event["object"]["metadata"]["resourceVersion"]
                    yield event


def _applied(event: Object, objects: dict[str, Object]) -> bool:
    """Carry an event out; False when it changes nothing."""
    kind, item = event["type"], event["object"]
    if kind == "BOOKMARK":
        return False
    if kind == "DELETED":
        return objects.pop(_identity(item), None) is not None
    objects[_identity(item)] = item
    return True


def _is_gone(event: Object) -> bool:
    """Was the version forgotten? Raises DiscoveryError when the server says that something else is wrong."""
    if event["type"] != "ERROR":
        return False
    status: dict[str, Any] = event["object"]
    if status.get("code") != _GONE:
        raise DiscoveryError(f"the watch ended with {status.get('code')} {status.get('message')}")
    return True


def _identity(item: Object) -> str:
    name: str = item["metadata"]["name"]
    return name
