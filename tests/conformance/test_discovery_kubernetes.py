"""Against a double of a Kubernetes API server: none is to be had here."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.http_double import Reply
from harness.kubernetes_double import KubernetesDouble
from harness.tcp_proxy import TcpProxy
from harness.waiting import eventually
from mishards.discovery.api import Announcer, AnnouncerPlugin, Discovery, NodeRecord, NodeRole, NodeState
from mishards.discovery.record import encode
from mishards.errors import DiscoveryError, PluginError
from mishards.testing.discovery import (
    READER,
    WRITER,
    AnnouncerSuite,
    AnnouncingBackend,
    DiscoverySuite,
    LosableBackend,
    LossSuite,
    MalformedSuite,
    Recorder,
    SpoilableBackend,
)

pytest.importorskip("httpx", reason="httpx is not installed: pip install 'mishards[kubernetes]'")

from mishards_plugins.discovery.kubernetes import endpoints, pods
from mishards_plugins.discovery.kubernetes_objects import endpoints_found, pods_found
from mishards_plugins.discovery.kubernetes_watch import KubernetesOptions, parse
from mishards_plugins.discovery.security import Secret, Tls

WAIT_S = 30.0
NS = "search"
LABELS = {"app": "node"}
BROKEN = Reply(500, {"kind": "Status", "code": 500})
QUERY = "selector=app=node&tls=off&watch_s=1"


def piece(node: NodeRecord, **conditions: bool) -> dict[str, Any]:
    """An EndpointSlice with one endpoint."""
    host, _, port = node.address.rpartition(":")
    labels = {**LABELS, "mishards.io/role": node.role.value, "mishards.io/weight": str(node.weight)}
    endpoint = {
        "addresses": [host.strip("[]")],
        "conditions": {"ready": True, "serving": True, "terminating": False, **conditions},
        "targetRef": {"kind": "Pod", "name": node.name},
        "zone": node.zone,
    }
    metadata = {"name": f"slice-{node.name}", "labels": labels}
    return {"metadata": metadata, "ports": [{"name": "grpc", "port": int(port)}], "endpoints": [endpoint]}


def pod(name: str, *, record: bytes | None = None, said: dict[str, str] | None = None, **status: Any) -> dict[str, Any]:
    """A pod that runs and is ready."""
    annotations = {} if record is None else {"mishards.io/node": record.decode(errors="replace")}
    return {
        "metadata": {"name": name, "labels": {**LABELS, **(said or {})}, "annotations": annotations},
        "spec": {"containers": [{"ports": [{"name": "grpc", "containerPort": 19530}]}]},
        "status": {
            "phase": "Running",
            "podIP": "10.1.1.1",
            "conditions": [{"type": "Ready", "status": "True"}],
            **status,
        },
    }


class Endpoints(LosableBackend, SpoilableBackend):
    """EndpointSlices, changed in the double."""

    def __init__(self, double: KubernetesDouble) -> None:
        self.double = double
        self._there: list[dict[str, Any]] = []

    def discovery(self) -> Discovery:
        return endpoints.discovery(f"kubernetes://{self.double.address}/{NS}?{QUERY}")

    def publish(self, nodes: list[NodeRecord]) -> None:
        self._there = [piece(node) for node in nodes]
        self.double.put(NS, "endpointslices", *self._there)

    def spoil(self) -> None:
        king = {**piece(WRITER), "metadata": {"name": "king", "labels": {**LABELS, "mishards.io/role": "king"}}}
        bare = {**piece(WRITER), "metadata": {"name": "bare", "labels": LABELS}}
        portless = {**piece(replace(WRITER, name="p")), "ports": None}
        foreign = {**piece(replace(WRITER, name="f")), "metadata": {"name": "foreign"}}
        self.double.put(NS, "endpointslices", *self._there, king, bare, portless, foreign)

    def lose(self) -> None:
        self.double.fail(BROKEN)

    def restore(self) -> None:
        self.double.fail(None)

    def expected(self, nodes: list[NodeRecord]) -> frozenset[NodeRecord]:
        return frozenset(replace(node, capabilities=frozenset()) for node in nodes)


class Pods(AnnouncingBackend, LosableBackend, SpoilableBackend):
    """Pods, changed in the double; each announcer has one of its own."""

    def __init__(self, double: KubernetesDouble) -> None:
        self.double = double
        self._there: list[dict[str, Any]] = []
        self._own = [pod(f"own-{number}") for number in range(5)]
        self._numbers = itertools.count()

    def uri(self, name: str = "") -> str:
        return f"kubernetes+pods://{self.double.address}/{NS}?{QUERY}" + (f"&pod={name}" if name else "")

    def discovery(self) -> Discovery:
        return pods.discovery(self.uri())

    def announcer(self) -> Announcer:
        return pods.announcer(self.uri(f"own-{next(self._numbers)}"))

    def publish(self, nodes: list[NodeRecord]) -> None:
        self._there = [pod(f"pod-{node.name}", record=encode(node)) for node in nodes]
        self.double.put(NS, "pods", *self._own, *self._there)

    def spoil(self) -> None:
        bad = [pod("bad", record=b"\xff"), pod("king", said={"mishards.io/role": "king"})]
        self.double.put(NS, "pods", *self._own, *self._there, *bad)

    def lose(self) -> None:
        self.double.fail(BROKEN)

    def restore(self) -> None:
        self.double.fail(None)


@pytest.fixture
def double() -> Iterator[KubernetesDouble]:
    with KubernetesDouble() as double:
        yield double


class TestEndpointSlices(DiscoverySuite, LossSuite, MalformedSuite):
    @pytest.fixture
    def backend(self, double: KubernetesDouble) -> Endpoints:
        return Endpoints(double)


class TestPods(DiscoverySuite, LossSuite, MalformedSuite):
    @pytest.fixture
    def backend(self, double: KubernetesDouble) -> Pods:
        return Pods(double)


class TestPodsAnnouncer(AnnouncerSuite):
    @pytest.fixture
    def backend(self, double: KubernetesDouble) -> Pods:
        return Pods(double)


@pytest.fixture
def backend(double: KubernetesDouble) -> Endpoints:
    return Endpoints(double)


@pytest.fixture
def heard(backend: Endpoints) -> Iterator[Recorder]:
    backend.publish([WRITER])
    discovery, heard = backend.discovery(), Recorder()
    discovery.open(heard)
    yield heard
    discovery.close()


def settled(heard: Recorder, *nodes: NodeRecord) -> None:
    expected = frozenset(replace(node, capabilities=frozenset()) for node in nodes)
    eventually(lambda: heard.last == expected, WAIT_S, lambda: f"{expected} is reported; last was {heard.last}")


def watched(double: KubernetesDouble, further: int) -> None:
    target = len(double.watches()) + further
    eventually(lambda: len(double.watches()) >= target, WAIT_S, "it is watched again")


@pytest.mark.parametrize("in_reply", [False, True])
def test_a_version_that_is_gone_is_listed_anew_and_is_no_loss(
    backend: Endpoints, heard: Recorder, in_reply: bool
) -> None:
    backend.double.gone_in_reply = in_reply
    watched(backend.double, 1)
    lists = len(backend.double.requests) - len(backend.double.watches())
    backend.double.forget()
    eventually(
        lambda: len(backend.double.requests) - len(backend.double.watches()) > lists, WAIT_S, "it is listed again"
    )
    backend.publish([WRITER, READER])
    settled(heard, WRITER, READER)
    assert not heard.losses
    assert frozenset() not in heard.sets


def test_a_watch_that_ends_in_the_middle_of_a_line_is_no_loss(backend: Endpoints, heard: Recorder) -> None:
    watched(backend.double, 1)
    backend.double.cut()
    backend.publish([WRITER, READER])
    settled(heard, WRITER, READER)
    assert not heard.losses


def test_a_bookmark_carries_the_version_on(backend: Endpoints, heard: Recorder) -> None:
    def versions() -> set[str]:
        return {request.query["resourceVersion"] for request in backend.double.watches()}

    eventually(versions, WAIT_S, "it is watched")
    backend.double.bookmark()
    eventually(lambda: len(versions()) > 1, WAIT_S, "a watch goes on from the bookmark")
    assert heard.sets == [frozenset({WRITER})]
    assert len(backend.double.requests) - len(backend.double.watches()) == 1  # it was listed once


def test_a_frozen_server_is_lost_and_does_not_hold_up_close(backend: Endpoints) -> None:
    backend.publish([WRITER])
    with TcpProxy(backend.double.address) as proxy:
        discovery, heard = endpoints.discovery(f"kubernetes://{proxy.address}/{NS}?{QUERY}"), Recorder()
        discovery.open(heard)
        proxy.freeze()
        eventually(lambda: heard.losses, WAIT_S, "the silence is reported")
        discovery.close()
        assert not [thread for thread in threading.enumerate() if thread.name == "discovery-kubernetes-watch"]
        assert heard.sets == [frozenset({WRITER})]
        proxy.heal()


def test_a_watch_that_is_refused_is_a_loss(backend: Endpoints, heard: Recorder) -> None:
    backend.double.fail(Reply(200, {"items": [], "metadata": {}}))  # a list that has no version
    eventually(lambda: heard.losses, WAIT_S, "the loss is reported")
    assert heard.sets[0] == frozenset({WRITER})
    assert frozenset() not in heard.sets


def test_the_token_is_read_again_when_the_cluster_replaces_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, old, new = tmp_path / "token", "first-token", "second-token"
    file.write_text(old)
    with KubernetesDouble(token=old) as double:
        backend = Endpoints(double)
        backend.publish([WRITER])
        uri = f"kubernetes://{double.address}/{NS}?{QUERY}&token_file={file}"
        discovery, heard = endpoints.discovery(uri), Recorder()
        discovery.open(heard)
        assert heard.last == frozenset({WRITER})
        double.token = new
        eventually(lambda: heard.losses, WAIT_S, "the old token is refused")
        file.write_text(new)
        backend.publish([READER])
        settled(heard, READER)
        discovery.close()
    assert not [text for text in (caplog.text, str(heard.losses)) if old in text or new in text]


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        ({}, NodeState.READY),
        ({"ready": False, "serving": False}, NodeState.JOINING),
        ({"ready": False, "terminating": True}, NodeState.DRAINING),
    ],
)
def test_an_endpoints_conditions_are_a_nodes_state(conditions: dict[str, bool], state: NodeState) -> None:
    found = endpoints_found([piece(WRITER, **conditions)], "grpc")
    assert found.nodes == {replace(WRITER, state=state)}


def test_what_is_not_said_of_an_endpoint_is_ready_and_named_by_its_address() -> None:
    slice_ = {**piece(WRITER), "endpoints": [{"addresses": ["10.0.0.1"]}]}
    assert endpoints_found([slice_], "grpc").nodes == {replace(WRITER, name=WRITER.address)}


def test_an_endpoint_in_two_slices_counts_once_in_its_best_state() -> None:
    joining, ready = piece(WRITER, ready=False), piece(WRITER)
    for slices in ([joining, ready], [ready, joining]):
        assert endpoints_found(slices, "grpc").nodes == {WRITER}


@pytest.mark.parametrize(
    ("ports", "wanted", "number"),
    [([("grpc", 1), ("http", 2)], "grpc", 1), ([("x", 7)], "grpc", 7), ([], "8", 8), ([("a", 1), ("b", 2)], "grpc", 0)],
)
def test_the_port_is_named_numbered_or_the_only_one(ports: list[tuple[str, int]], wanted: str, number: int) -> None:
    slice_ = {**piece(WRITER), "ports": [{"name": name, "port": port} for name, port in ports]}
    addresses = {node.address for node in endpoints_found([slice_], wanted).nodes}
    assert addresses == ({f"10.0.0.1:{number}"} if number else set())


def test_a_pods_labels_describe_a_node_that_does_not_announce_itself() -> None:
    said = {"mishards.io/role": "readonly", "mishards.io/weight": "2", "mishards.io/zone": "z"}
    node = NodeRecord("p", NodeRole.READONLY, "10.1.1.1:19530", 2.0, "z")
    assert pods_found([pod("p", said=said)], "grpc").nodes == {node}
    assert pods_found([pod("p", said=said, podIP=None), pod("q")], "grpc").nodes == frozenset()


def test_the_platform_knows_better_than_the_announcement_whether_a_pod_lives() -> None:
    def state(**status: Any) -> list[NodeState]:
        return [node.state for node in pods_found([pod("p", record=encode(READER), **status)], "grpc").nodes]

    assert state() == [NodeState.READY]
    assert state(conditions=[]) == [NodeState.JOINING]
    assert state(phase="Pending") == [NodeState.JOINING]
    assert state(phase="Failed") == []
    going = pod("p", record=encode(READER))
    going["metadata"]["deletionTimestamp"] = "2020-01-01T00:00:00Z"
    assert [node.state for node in pods_found([going], "grpc").nodes] == [NodeState.DRAINING]


def test_a_pod_that_is_not_there_and_a_server_that_is_none_cannot_be_announced_at(double: KubernetesDouble) -> None:
    announcer = pods.announcer(f"kubernetes+pods://{double.address}/{NS}?tls=off&pod=nobody")
    with pytest.raises(DiscoveryError, match=r'404.*pods \\"nobody\\" not found'):
        announcer.announce(READER)
    double.fail(Reply(200, []))
    with pytest.raises(DiscoveryError, match="answers as no API server"):
        announcer.announce(READER)
    double.close()
    with pytest.raises(DiscoveryError, match="does not do GET"):
        announcer.announce(READER)


def test_with_endpoints_the_platform_announces() -> None:
    assert isinstance(pods, AnnouncerPlugin)
    assert not isinstance(endpoints, AnnouncerPlugin)


def test_inside_a_cluster_the_service_account_says_the_rest(tmp_path: Path) -> None:
    (tmp_path / "namespace").write_text("search\n")
    options = parse("kubernetes://?selector=app=node", tmp_path)
    assert options.server == "https://kubernetes.default.svc:443"
    assert options.namespace == "search"
    assert options.tls == Tls(ca=str(tmp_path / "ca.crt"))
    assert options.token == Secret(file=str(tmp_path / "token"))


def test_the_address_of_kubernetes_says_everything() -> None:
    options = parse("kubernetes+pods://h:1/ns?selector=a=b,c=d&port=7&watch_s=60&pod=me&tls=off")
    assert options == KubernetesOptions("http://h:1", "ns", "a=b,c=d", "7", 60.0, "me")


@pytest.mark.parametrize(
    "uri",
    [
        "kubernetes://h/a/b",
        "kubernetes://h:x/ns",
        "kubernetes://h/",
        "kubernetes://h/ns?watch_s=0",
        "kubernetes://h/ns?pod=me",
        "kubernetes://h/ns?tls=maybe",
        "kubernetes://h/ns?tls=off&ca=/f",
    ],
)
def test_an_address_of_kubernetes_that_cannot_be_used_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="kubernetes://"):
        parse(uri, tmp_path)


def test_a_file_of_tls_that_cannot_be_used_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="no-such-ca"):
        endpoints.discovery(f"kubernetes://h/ns?ca={tmp_path}/no-such-ca")
