"""Faults of ZooKeeper and of what stands in it: servers that die, sessions that end, entries that flap or lie."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

from faults.fault_row import ALL_WORK, Expected, Fails, May, Row, Works
from faults.fault_stage import BACK_S, ROUTERS_GROUP, Stage
from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError, NoNodeError

from harness.faults.partition import Partition
from harness.fleet import RouterProcess
from harness.ports import free_port
from harness.traffic import DELETE, INSERT, SEARCH, STRONG
from harness.waiting import eventually
from harness.zookeeper import ZooKeeper
from mishards.discovery.api import NodeRecord, NodeRole
from mishards.discovery.record import encode

NODES = "/mishards/nodes"
_START_S = 100


@contextlib.contextmanager
def router_restarted_without_zookeeper(stage: Stage, seconds: float) -> Iterator[None]:
    """All of ZooKeeper is away, and one of two routers is killed and started."""
    router = stage.cluster.routers[1]
    with _without(stage.cluster.zookeepers):
        router.kill()
        router.start()
        eventually(
            lambda: _says(stage, router, "reasons", "discovery knows none"), BACK_S, "the router says what it lacks"
        )
        yield


@contextlib.contextmanager
def zookeeper_leader_killed(stage: Stage, seconds: float) -> Iterator[None]:
    """SIGKILL of the leader of three."""
    with _without([stage.cluster.zookeeper_leader()]):
        yield


@contextlib.contextmanager
def zookeeper_quorum_lost(stage: Stage, seconds: float) -> Iterator[None]:
    """SIGKILL of two of three."""
    with _without(stage.cluster.zookeepers[:2]):
        for router in stage.cluster.routers:
            eventually(
                lambda asked=router: _says(stage, asked, "warnings", "discovery is lost"),  # type: ignore[misc]
                BACK_S,
                f"{router.name} says that what it knows is old",
            )
        yield


@contextlib.contextmanager
def _without(servers: Sequence[ZooKeeper]) -> Iterator[None]:
    for server in servers:
        server.kill()
    try:
        yield
    finally:
        for server in servers:
            server.start()
        for server in servers:
            eventually(server.mode, BACK_S, f"{server.name} serves")


def _says(stage: Stage, router: RouterProcess, what: str, text: str) -> bool:
    return any(text in said for said in stage.get(router, "/readyz").get(what, ()))


@contextlib.contextmanager
def session_expired(stage: Stage, seconds: float) -> Iterator[None]:
    """ZooKeeper ends the session of a read-only node, which makes its entry again in another one."""
    path = f"{NODES}/{stage.cluster.readers[0].name}"
    with stage.zookeeper() as admin:
        session = admin.get(path)[1].ephemeralOwner
        hosts = ",".join(server.address for server in stage.cluster.zookeepers)
        thief = KazooClient(hosts, client_id=(session, _password(session)))
        thief.start(BACK_S)
        thief.stop()  # ends the session for both
        thief.close()
        eventually(lambda: _owner(admin, path) not in (0, session), BACK_S, "the entry is made again")
        assert sorted(admin.get_children(NODES)) == sorted(node.name for node in stage.cluster.nodes)
        yield


def _owner(client: KazooClient, path: str) -> int:
    stat = client.exists(path)
    return int(stat.ephemeralOwner) if stat else 0


def _password(session: int) -> bytes:
    """The secret of a session, as ZooKeeper makes it from the number: by ``java.util.Random``, whose seed it is."""
    multiplier, mask = 0x5DEECE66D, (1 << 48) - 1
    state = ((session ^ 0xB3415C00) ^ multiplier) & mask
    made = b""
    for _ in range(4):
        state = (state * multiplier + 0xB) & mask
        made += (state >> 16).to_bytes(4, "little")
    return made


@contextlib.contextmanager
def entries_flapping(stage: Stage, seconds: float) -> Iterator[None]:
    """Each second one node's entry is taken away, which it makes again, and one more node comes and goes."""
    flapper = _record("flapper", stage.cluster.readers[1].address)
    stopping = threading.Event()

    def flap() -> None:
        with stage.zookeeper() as admin:
            while not stopping.wait(0.5):
                with contextlib.suppress(NoNodeError):  # not made again yet
                    admin.delete(f"{NODES}/{stage.cluster.readers[0].name}")
                with contextlib.suppress(NodeExistsError):
                    admin.create(f"{NODES}/flapper", flapper)
                stopping.wait(0.5)
                admin.delete(f"{NODES}/flapper")

    thread = threading.Thread(target=flap, name="flap")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(BACK_S)


@contextlib.contextmanager
def routers_cut_off_from_zookeeper(stage: Stage, seconds: float) -> Iterator[None]:
    """Packets between routers and ZooKeeper vanish; a node dies meanwhile, and stands in ZooKeeper to the end."""
    node = stage.cluster.readers[0]
    with contextlib.ExitStack() as cuts:
        made = [Partition(server.port, ROUTERS_GROUP) for server in stage.cluster.zookeepers]
        for partition in made:
            cuts.enter_context(partition)
        stage.pause(1)  # a connection is known from the next packet on
        for partition in made:
            partition.drop()
        node.kill()
        yield
        assert any(partition.stopped for partition in made), "no packet was stopped"
    node.launch(_START_S)


@contextlib.contextmanager
def entries_of_nodes_that_are_not(stage: Stage, seconds: float) -> Iterator[None]:
    """A dead node's entry stands for ever, and one node has a second entry."""
    lies = {
        "ghost": _record("ghost", f"127.0.0.1:{free_port()}"),
        "double": _record("double", stage.cluster.readers[1].address),
    }
    with stage.zookeeper() as admin:
        for name, record in lies.items():
            admin.create(f"{NODES}/{name}", record)
        try:
            for router in stage.cluster.routers:
                eventually(
                    lambda asked=router: _health(stage, asked, "ghost") == "down",  # type: ignore[misc]
                    BACK_S,
                    f"{router.name} takes the ghost for dead",
                )
            yield
        finally:
            for name in lies:
                admin.delete(f"{NODES}/{name}")


def _health(stage: Stage, router: RouterProcess, name: str) -> str:
    found = {entry["name"]: entry["health"] for entry in stage.get(router, "/status").get("nodes", ())}
    return str(found.get(name, ""))


def _record(name: str, address: str) -> bytes:
    return encode(NodeRecord(name, NodeRole.READONLY, address))


_NOBODY_ELECTS: Expected = {SEARCH: Works(), STRONG: May(), INSERT: May(), DELETE: May()}
_NOBODY_LEADS: Expected = {**_NOBODY_ELECTS, INSERT: Fails("leads|prove", after_s=6)}
"""A leader proves that it leads for as long as its session may last, 4 s."""

ROWS = [
    Row(5, "a router restarts without ZooKeeper", router_restarted_without_zookeeper, 1, 20, _NOBODY_ELECTS),
    Row(6, "ZooKeeper's leader is killed", zookeeper_leader_killed, 1, 20, ALL_WORK),
    Row(7, "ZooKeeper's quorum is lost", zookeeper_quorum_lost, 5, 60, _NOBODY_LEADS),
    Row(8, "a node's session expires", session_expired, 1, 20, ALL_WORK),
    Row(9, "nodes flap in discovery", entries_flapping, 3, 60, ALL_WORK),
    Row(16, "routers are cut off from ZooKeeper", routers_cut_off_from_zookeeper, 3, 20, ALL_WORK, Partition.missing),
    Row(24, "entries of nodes that are not", entries_of_nodes_that_are_not, 1, 20, ALL_WORK),
]
