"""Election ``kubernetes``: a Lease object of ``coordination.k8s.io/v1``; needs httpx (the extra ``kubernetes``).

Features: server needed a Kubernetes API server; a leader that died is succeeded after the lease time.

Address form: ``kubernetes://HOST:PORT/NAMESPACE``; without a host it is the server of the cluster that this process
runs in, without a namespace this pod's own.

Options (in the query): ``lease``, the object's name, default ``milvus-writable``; and ``tls``, ``ca``, ``cert``,
``key``, ``token_file`` and ``token_env`` as for the discovery ``kubernetes``. The account needs the rights to ``get``,
``create`` and ``update`` leases.

Every write names the version of the object that it replaces. Whether the lease has run out is judged by watching the
version, as clients of Kubernetes do, so that clocks need not agree; the times in the object are for people.
"""

from __future__ import annotations

import secrets
import threading
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit, urlunsplit

import httpx

from mishards.election.api import Candidate, ElectionOptions, Leadership, clock, decode, encode
from mishards.election.tenure import Tenure
from mishards.election.watched import Watched
from mishards.errors import DiscoveryError, ElectionError
from mishards_plugins.discovery.http_watch import FAILURES, refusal
from mishards_plugins.discovery.kubernetes_watch import KubernetesOptions, parse

_NOT_FOUND = 404
_CONFLICT = 409

Object = dict[str, Any]


class KubernetesElector:
    """Stands for a Lease object."""

    def __init__(self, options: KubernetesOptions, name: str, candidate: Candidate, election: ElectionOptions) -> None:
        self._url = (
            f"{options.server}/apis/coordination.k8s.io/v1/namespaces/{quote(options.namespace, safe='')}/leases"
        )
        self._name = name
        self._candidate = candidate
        self._election = election
        self._http = options.access().client()
        self._watched = Watched(election.lease_s)
        self._version = ""
        self._term: Object = {}
        self._leader: Candidate | None = None
        self._tenure: Tenure | None = None
        self._closed = threading.Event()

    @property
    def leader(self) -> Candidate | None:
        """Who held the lease when it was last read."""
        return self._leader

    def attempt(self) -> Leadership | None:
        """Take the lease if nobody holds it, or its holder has been silent for the lease time."""
        found = self._read()
        spec = {} if found is None else found["spec"]
        holder, version = spec.get("holderIdentity") or "", "" if found is None else _version(found)
        if holder and not self._watched.has_run_out(version, clock()):
            self._leader = decode(holder)
            return None
        own = encode(self._candidate, secrets.token_hex(8))
        self._term = {"leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1, "acquireTime": _now()}
        asked_at = clock()
        if not self._write(own, version):
            return None
        self._leader = self._candidate
        self._tenure = Tenure(
            lambda: self._renew(own),
            lambda: self._write("", self._version),
            asked_at=asked_at,
            lease_s=self._election.lease_s,
            renew_s=self._election.renew_s,
        )
        return self._tenure

    def wait(self, timeout_s: float) -> None:
        """Wait until the lease is worth a look again."""
        self._closed.wait(min(timeout_s, self._watched.pause_s(clock(), self._election.renew_s)))

    def close(self) -> None:
        """Resign, and close the connections."""
        if self._closed.is_set():
            return
        self._closed.set()
        if self._tenure is not None:
            self._tenure.resign()
        self._http.close()

    def _renew(self, own: str) -> bool:
        if self._write(own, self._version):
            return True
        found = self._read()  # an earlier renewal may have gone through although its answer was lost
        if found is None or found["spec"].get("holderIdentity") != own:
            return False
        return self._write(own, _version(found))

    def _read(self) -> Object | None:
        reply = self._ask("GET", f"{self._url}/{self._name}")
        if reply.status_code == _NOT_FOUND:
            return None
        return self._object(reply)

    def _write(self, holder: str, version: str) -> bool:
        """Replace the object of this version, or make it where that is empty; False where it is another by now."""
        spec: Object = {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, round(self._election.lease_s)),
            "renewTime": _now(),
            **self._term,
        }
        metadata = {"name": self._name, **({"resourceVersion": version} if version else {})}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        reply = self._ask("PUT", f"{self._url}/{self._name}", body) if version else self._ask("POST", self._url, body)
        if reply.status_code in (_CONFLICT, _NOT_FOUND):
            return False
        self._version = _version(self._object(reply))
        return True

    def _ask(self, method: str, url: str, body: Object | None = None) -> httpx.Response:
        try:
            return self._http.request(method, url, json=body)
        except (*FAILURES, DiscoveryError) as error:
            raise ElectionError(f"{method} {url}: {error!r}") from error

    def _object(self, reply: httpx.Response) -> Object:
        try:
            found: Object = reply.json() if reply.is_success else {}
            if "spec" in found and _version(found):
                return found
        except FAILURES as error:
            raise ElectionError(f"{self._url} answers as no API server: {error!r}") from error
        raise ElectionError(f"{self._url} refuses the lease {self._name}: {refusal(reply)}")


class KubernetesElection:
    """The entry point's object."""

    def elector(self, uri: str, candidate: Candidate, options: ElectionOptions) -> KubernetesElector:
        """An elector for the Lease that the URI names."""
        parts = urlsplit(uri)
        query = parse_qs(parts.query, keep_blank_values=True)
        name = query.pop("lease", ["milvus-writable"])[0]
        rest = urlunsplit(parts._replace(query=urlencode(query, doseq=True)))
        return KubernetesElector(parse(rest), name, candidate, options)


plugin = KubernetesElection()


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _version(found: Object) -> str:
    return str(found["metadata"]["resourceVersion"])
