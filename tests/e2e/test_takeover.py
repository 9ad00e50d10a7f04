"""The leading writable node dies or sleeps: another one takes over, and nothing that was acknowledged is lost.

``TAKEOVERS=30`` in the environment makes it kill the leader that often; ``-o log_cli=true`` shows the times it took.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import grpc
import pytest

from harness.rpc import Rpc, records
from harness.servers import Server
from harness.takeover import NAME, Cluster, Searches, Stream, rows_of
from harness.waiting import eventually

log = logging.getLogger(__name__)

TAKEOVERS = int(os.environ.get("TAKEOVERS", "2"))

ELSEWHERE = {"same_host": False}
"""As if every node had a machine of its own: only silence tells that a leader is gone."""


def other(cluster: Cluster, server: Server) -> Server:
    return next(found for found in cluster.writables if found is not server)


def test_kill_9_of_the_leader_under_writes_loses_and_doubles_nothing(tmp_path: Path) -> None:
    times = []
    with Cluster(tmp_path, election=ELSEWHERE) as cluster:
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
    with Cluster(tmp_path, election=ELSEWHERE) as cluster:
        cluster.create()
        stream = Stream(cluster, seed=2)
        with Searches(cluster).running(), stream.running():
            stopped = cluster.leader()
            stream.wait_for_more()
            pause_outside_a_change(cluster, stopped)
            successor = other(cluster, stopped)
            eventually(lambda: cluster.claim(successor)["leading"], 30, "the other node leads")
            stream.wait_for_more(timeout_s=60)
            stopped.resume()
            eventually(lambda: cluster.claim(stopped)["leader"] == cluster.claim(successor)["leader"], 30, "it knows")
            assert not cluster.claim(stopped)["leading"]
            with Rpc(stopped.address) as rpc, pytest.raises(grpc.RpcError) as refused:
                rpc.call("Insert", collection_name=NAME, row_record_array=records(rows_of([5])), row_id_array=[5])
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            stream.wait_for_more()
            assert stopped.running
            successor.kill()
            eventually(lambda: cluster.claim(stopped)["leading"], 30, "the standby leads in its turn")
            stream.wait_for_more(timeout_s=60)
        cluster.flush()
        stream.assert_kept(cluster.stored())


def pause_outside_a_change(cluster: Cluster, server: Server) -> None:
    """Stop a process, but not while it holds the one lock that SQLite has: that would be a wait, not a takeover."""

    def paused() -> bool:
        server.pause()
        if cluster.database_is_free():
            return True
        server.resume()
        return False

    eventually(paused, 30, "the process is stopped outside a change of the catalog")


def test_an_orderly_stop_of_the_leader_hands_over_at_once(tmp_path: Path) -> None:
    with Cluster(tmp_path, election={**ELSEWHERE, "lease_s": 60}) as cluster:
        cluster.create()
        stream = Stream(cluster, seed=3)
        with Searches(cluster).running(), stream.running():
            leader = cluster.leader()
            stream.wait_for_more()
            leader.terminate()
            assert leader.wait(30) == 0
            stream.wait_for_more()  # long before a lease of 60 s has run out
        cluster.flush()
        stream.assert_kept(cluster.stored())
