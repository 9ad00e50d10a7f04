"""Discovery ``kubernetes``: nodes are the endpoints of Services, or pods; needs httpx (the extra ``kubernetes``).

Features: whole sets yes; announces with pods; server needed a Kubernetes API server; changes seen at once.

Address form: ``kubernetes://HOST:PORT/NAMESPACE`` reads EndpointSlices, ``kubernetes+pods://HOST:PORT/NAMESPACE`` reads
pods. Without a host it is the server of the cluster that this process runs in, by the files of the service account;
without a namespace, this pod's own.

Options (in the query):
    ``selector``: a label selector, such as ``app=milvus-node``. It is what says which slices or pods are nodes.
    ``port``: the name or the number of the nodes' port, default ``grpc``; of the only one if it has another name.
    ``watch_s``: seconds that one watch lasts, default 30; a frozen server is noticed after it.
    ``tls``: ``on`` (the default) or ``off``, for a local proxy. ``ca``, ``cert``, ``key``: files, as usual.
    ``token_file`` or ``token_env``: the file or the variable with the token; default the service account's, which is
    read again for each request because the cluster replaces it.
    ``pod`` (pods only): the pod that announces itself, default the host's name.

Endpoints: the platform announces. A ready endpoint is a ready node, one that terminates is draining, any other joins.
Its name is the pod's; its zone is the endpoint's; role and weight are the labels ``mishards.io/role`` and
``mishards.io/weight`` of the Service, which Kubernetes copies to its slices: one Service a role.

Pods: a pod that has announced itself has the annotation ``mishards.io/node``, the record as JSON; for any other the
labels or annotations ``mishards.io/role``, ``/weight``, ``/zone`` and ``/capabilities`` speak, and its own address; one
that has neither is no node yet. Whatever was announced, a pod that is being deleted is draining and one that is not
ready joins: no calls go there. A pod that has ended is no node. Announcing needs the rights to ``list`` and ``patch``
pods, reading the rights to ``list`` and ``watch`` them.

Invariants: a set is whole after the list, and after every event; a version that the server has forgotten (410) is
answered by a new list, and so is a watch that breaks; the last set stands until it is there, and the server is lost
when it cannot be had.
"""

from __future__ import annotations

from mishards_plugins.discovery.http_watch import HttpWatch
from mishards_plugins.discovery.kept_entry import KeptAnnouncer
from mishards_plugins.discovery.kubernetes_objects import endpoints_found, pods_found
from mishards_plugins.discovery.kubernetes_pod import PodEntry
from mishards_plugins.discovery.kubernetes_watch import ObjectWatch, parse


class EndpointsPlugin:
    """The object of the entry point ``kubernetes``."""

    def discovery(self, uri: str) -> HttpWatch:
        """The endpoints that the URI selects."""
        options = parse(uri)
        path = f"/apis/discovery.k8s.io/v1/namespaces/{options.namespace}/endpointslices"
        watch = ObjectWatch(options, path, endpoints_found)
        return HttpWatch("kubernetes", (options.server,), watch.follow, options.access())


class PodsPlugin:
    """The object of the entry point ``kubernetes+pods``."""

    def discovery(self, uri: str) -> HttpWatch:
        """The pods that the URI selects."""
        options = parse(uri)
        watch = ObjectWatch(options, options.pods_path, pods_found)
        return HttpWatch("kubernetes", (options.server,), watch.follow, options.access())

    def announcer(self, uri: str) -> KeptAnnouncer:
        """An announcer in this process's own pod."""
        options = parse(uri)
        options.access()  # what it needs is there
        return KeptAnnouncer("kubernetes", lambda _wake: PodEntry(options))


endpoints = EndpointsPlugin()
pods = PodsPlugin()
