"""A leader that sleeps at the worst moment, while another node takes over, and wakes up: two nodes on one folder."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.node_rpc import WAIT_S, Rpc, floats, ok, records, status
from harness.waiting import eventually
from milvus_node import term
from milvus_node.assembly import Node
from milvus_node.config import ElectionSettings, NodeOptions, StorageOptions
from milvus_node.ingest.rows import RowWriter
from milvus_node.storage.segment_folder import SegmentFolder
from mishards.catalog.files import FileWriter
from mishards.election.watched import Watched
from mishards.errors import CatalogUnavailable, NotLeader
from mishards.wire.extensions import GROWING_KEY
from mishards.wire.protos import milvus_pb2 as pb

ELECTION = ElectionSettings(lease_s=20, renew_s=0.1)
"""A lease that no busy machine makes anybody lose; who sleeps here is made to have slept for as long."""


class Pair:
    """A node that leads, and one that will."""

    def __init__(self, storage: StorageOptions) -> None:
        self._options = NodeOptions(storage=storage, election=ELECTION)
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.nodes: list[Rpc] = []
        self.first = self.start()
        self.first.create()
        self.first.insert(floats(1, 2, 3, 4, 5), range(1, 6))

    def start(self) -> Rpc:
        self.loops.append(asyncio.new_event_loop())
        self.nodes.append(Rpc(Node(self._options), self.loops[-1]))
        return self.nodes[-1]

    def close(self) -> None:
        for rpc in self.nodes:
            rpc.node.close()
        for loop in self.loops:
            loop.close()

    def put_to_sleep(self, rpc: Rpc) -> None:
        """Let a node renew no more and its lease be over, as of a process that is stopped."""

        asked = threading.Event()

        def silent(*_: object) -> bool:
            asked.set()
            raise CatalogUnavailable("asleep")

        elector: Any = rpc.node._candidacy._elector  # type: ignore[union-attr]  # a writable node has one
        elector._table.renew = silent
        assert asked.wait(WAIT_S)  # so that no renewal from before is still under way
        elector._tenure._proven_until = 0.0

    def wake(self, rpc: Rpc) -> None:
        """Let it go on."""
        elector: Any = rpc.node._candidacy._elector  # type: ignore[union-attr]  # a writable node has one
        del elector._table.renew

    def take_over(self) -> None:
        """Put the first to sleep; the second leads, and changes what the first had."""
        self.put_to_sleep(self.first)
        second = self.start()
        elector: Any = second.node._candidacy._elector  # type: ignore[union-attr]  # a writable node has one
        elector._watched = Watched(0.1)
        eventually(lambda: leads(second), WAIT_S, "the second leads")
        ok(second.DeleteByID(collection_name="words", id_array=[2]))
        second.insert(floats(7), [7])


def leads(rpc: Rpc) -> bool:
    return rpc.node._candidacy is not None and rpc.node._candidacy.term is not None


def stands_by(rpc: Rpc) -> bool:
    return rpc.node._candidacy is not None and rpc.node._candidacy._term is None


def stored(rpc: Rpc) -> Counter[int]:
    """The live ids of all segments."""
    found: Counter[int] = Counter()
    for segment in rpc.node._catalog.refreshed().collection("words").segments:
        folder = rpc.node._layout.segment(segment.table_id, segment.segment_id)
        dead = set(folder.read_deleted().tolist())
        live = [int(i) for row, i in enumerate(folder.read_ids()) if row not in dead]
        assert len(live) == segment.rows
        found.update(live)
    return found


@pytest.fixture
def pair(storage: StorageOptions, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setattr(term, "_PROOF_S", 0.2)
    made = Pair(storage)
    yield made
    made.close()


@pytest.fixture
def asleep_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, str, Callable[[], None]], None]:
    """Let the next call of a method, from a client's call, begin only after something else has happened."""

    def arm(owner: type, name: str, meanwhile: Callable[[], None]) -> None:
        method: Callable[..., Any] = getattr(owner, name)
        armed = [True]

        def slept(*arguments: Any, **options: Any) -> Any:
            if armed and threading.current_thread().name.startswith(("definition", "write")):
                armed.clear()
                meanwhile()
            return method(*arguments, **options)

        monkeypatch.setattr(owner, name, slept)

    return arm


@pytest.mark.parametrize(
    ("owner", "name"),
    [(SegmentFolder, "write_raw"), (SegmentFolder, "write_deleted"), (FileWriter, "flush")],
    ids=["before a segment", "before tombstones", "before the catalog"],
)
def test_a_leader_that_sleeps_in_a_flush_corrupts_nothing_and_becomes_a_standby(
    pair: Pair, asleep_in: Callable[..., None], owner: type, name: str
) -> None:
    first = pair.first
    ok(first.Insert(collection_name="words", row_record_array=records(floats(6)), row_id_array=[6]))
    ok(first.DeleteByID(collection_name="words", id_array=[1]))
    asleep_in(owner, name, pair.take_over)
    assert status(first.Flush(collection_name_array=["words"]))[0] != 0
    second = pair.nodes[-1]
    ok(second.Flush())
    for rpc in (first, second):
        assert stored(rpc) == Counter([3, 4, 5, 6, 7])
    pair.wake(first)
    eventually(lambda: stands_by(first), WAIT_S, "the first knows")
    with pytest.raises(NotLeader, match="Insert was not done: this writable node stands by"):
        first.Insert(collection_name="words", row_record_array=records(floats(8)), row_id_array=[8])
    search = pb.SearchParam(collection_name="words", query_record_array=records(floats(3)), topk=1)
    with pytest.raises(NotLeader):
        first.call("Search", search, [(GROWING_KEY, "0")])
    assert list(ok(first.search(floats(3), 1)).ids) == [3]


def test_a_leader_that_sleeps_before_its_answer_acknowledges_nothing(
    pair: Pair, asleep_in: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    insert: Callable[..., Any] = RowWriter.insert

    def slow(*arguments: Any) -> Any:
        given = insert(*arguments)
        if not pair.nodes[1:]:
            pair.take_over()
        return given

    monkeypatch.setattr(RowWriter, "insert", slow)
    reply = pair.first.Insert(collection_name="words", row_record_array=records(floats(6)), row_id_array=[6])
    assert status(reply)[0] != 0
    assert "what the call was to change may be done or not" in status(reply)[1]
    second = pair.nodes[-1]
    ok(second.Flush())
    assert stored(second) == Counter([1, 3, 4, 5, 6, 7])  # its log was on disk, so the row is there, and once


def test_a_standby_leads_again_without_a_restart(pair: Pair) -> None:
    first = pair.first
    ok(first.Insert(collection_name="words", row_record_array=records(floats(6)), row_id_array=[6]))
    second = pair.start()
    assert not leads(second)
    answer = ok(second.Cmd(cmd="mishards leader")).string_reply
    assert '"leading": false' in answer
    assert first.node._options.address in answer
    assert second.node.warnings() == [f"this node stands by; who leads: {first.node._options.address}"]
    first.node.hand_over()
    eventually(lambda: leads(second), WAIT_S, "the standby leads")
    second.insert(floats(7), [7])
    assert stored(second) == Counter(range(1, 8))
    assert list(ok(first.search(floats(7), 1)).ids) == [7]  # it still reads
    with pytest.raises(NotLeader, match=r"this writable node stands by$"):
        first.Flush()


def test_handing_over_waits_for_the_writes_under_way(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    insert: Callable[..., Any] = RowWriter.insert
    handing_over: list[threading.Thread] = []

    def slow(*arguments: Any) -> Any:
        handing_over.append(threading.Thread(target=pair.first.node.hand_over))
        handing_over[0].start()
        eventually(lambda: not leads(pair.first), WAIT_S, "it takes no more writes")
        return insert(*arguments)

    monkeypatch.setattr(RowWriter, "insert", slow)
    ok(pair.first.Insert(collection_name="words", row_record_array=records(floats(6)), row_id_array=[6]))
    handing_over[0].join(WAIT_S)
    assert stored(pair.first) == Counter(range(1, 7))


def test_a_lease_that_was_late_but_not_taken_goes_on(pair: Pair) -> None:
    first = pair.first
    pair.put_to_sleep(first)
    eventually(lambda: not leads(first), WAIT_S, "the lease is not proven")
    with pytest.raises(NotLeader, match="cannot prove it"):
        first.Insert(collection_name="words", row_record_array=records(floats(6)), row_id_array=[6])
    pair.wake(first)
    eventually(lambda: leads(first), WAIT_S, "it is proven again")
    first.insert(floats(7), [7])
    assert stored(first) == Counter([1, 2, 3, 4, 5, 7])
