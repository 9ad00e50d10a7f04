"""The leading writable node dies or sleeps: another one takes over, and nothing that was acknowledged is lost.

``TAKEOVERS=30`` in the environment makes it kill the leader that often; ``-o log_cli=true`` shows the times it took.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import grpc

from harness.rpc import Rpc
from harness.servers import Server
from harness.takeover import Cluster, Searches, Stream
from harness.waiting import eventually

log = logging.getLogger(__name__)

TAKEOVERS = int(os.environ.get("TAKEOVERS", "1"))

ELSEWHERE = {"same_host": False}
"""As if every node had a machine of its own: only silence tells that a leader is gone."""


def test_kill_9_of_the_leader_under_writes_loses_and_doubles_nothing(tmp_path: Path) -> None:
    times = []
    with Cluster(tmp_path, ELSEWHERE, ELSEWHERE) as cluster:
        cluster.create()
        stream = Stream(cluster, seed=1)
        with Searches(cluster).running(), stream.running():
            for _ in range(TAKEOVERS):
                leader = cluster.leader()
                stream.wait_for_more()
                leader.kill()
                killed_at = time.monotonic()
                eventually(lambda at=killed_at: stream.answered_at > at, 30, "a write is acknowledged again")
                times.append(stream.answered_at - killed_at)
                stream.wait_for_more()
                assert cluster.leader() is not leader
                leader.launch()
        cluster.flush()
        stream.assert_kept(cluster.stored())
        assert len(stream.deleted) > TAKEOVERS
    log.info("seconds until writes were possible again: %s", " ".join(f"{s:.2f}" for s in sorted(times)))


def test_a_stopped_leader_acknowledges_nothing_more_and_becomes_a_standby(tmp_path: Path) -> None:
    with Cluster(tmp_path, ELSEWHERE, ELSEWHERE) as cluster:
        cluster.create()
        stream = Stream(cluster, seed=2)
        with Searches(cluster).running(), stream.running():
            stopped = cluster.leader()
            stream.wait_for_more()
            pause_outside_a_change(cluster, stopped)
            successor = cluster.other(stopped)
            eventually(lambda: cluster.claim(successor)["leading"], 30, "the other node leads")
            stream.wait_for_more(timeout_s=60)
            stopped.resume()
            eventually(lambda: refusal_of(stopped) is grpc.StatusCode.FAILED_PRECONDITION, 30, "it refuses to write")
            stream.wait_for_more()
            assert stopped.running
            leader, standby = cluster.agreed()
            leader.kill()
            eventually(lambda: cluster.claim(standby)["leading"], 30, "the standby leads in its turn")
            stream.wait_for_more(timeout_s=60)
        cluster.flush()
        stream.assert_kept(cluster.stored())


def refusal_of(server: Server) -> grpc.StatusCode | None:
    """With what a node refuses a write to a collection that there is not; None where it answers for the protocol."""
    with Rpc(server.address) as rpc:
        try:
            rpc.call("DropCollection", collection_name="no_such_collection")
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()  # type: ignore[attr-defined]  # of a call that ended
            return code
    return None


def pause_outside_a_change(cluster: Cluster, server: Server) -> None:
    """Stop a process, but not while it holds the one lock that SQLite has: that would be a wait, not a takeover."""

    def paused() -> bool:
        server.pause()
        if cluster.database_is_free():
            return True
        server.resume()
        return False

    eventually(paused, 30, "the process is stopped outside a change of the catalog")
