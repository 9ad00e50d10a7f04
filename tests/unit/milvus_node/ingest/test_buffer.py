from __future__ import annotations

from collections import Counter

import hypothesis.strategies as st
import numpy as np
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from milvus_node.ingest.buffer import CollectionBuffer, InsertBuffer

WIDTH = 8
TABLES = ("words", "1", "2")
SOME_IDS = st.lists(st.integers(0, 6), min_size=1, max_size=5)

Rows = Counter[tuple[int, int]]
"""How often a row is there; a row is its id and the number of the insert it came with."""


def inserted(buffer: CollectionBuffer, table_id: str, ids: list[int], value: int, lsn: int) -> None:
    buffer.insert(table_id, np.array(ids, np.int64), np.full((len(ids), WIDTH), value, np.uint8), lsn)


def rows_of(buffer: CollectionBuffer, table_id: str) -> list[tuple[int, int]]:
    ids, vectors = buffer.rows(table_id)
    return list(zip(ids.tolist(), vectors[:, 0].tolist() if len(ids) else [], strict=True))


def test_an_empty_buffer_has_nothing_to_flush() -> None:
    buffer = CollectionBuffer()
    assert buffer.is_empty
    assert rows_of(buffer, "words") == []
    assert buffer.deletes() == {}


def test_a_delete_takes_only_rows_that_came_before_it_and_only_in_its_partitions() -> None:
    buffer = CollectionBuffer()
    inserted(buffer, "words", [1, 2, 1], 10, 1)
    inserted(buffer, "p", [1], 11, 2)
    buffer.delete(["words"], np.array([1, 9]), 3)
    inserted(buffer, "words", [1], 12, 4)
    assert rows_of(buffer, "words") == [(2, 10), (1, 12)]
    assert rows_of(buffer, "p") == [(1, 11)]
    assert {table_id: ids.tolist() for table_id, ids in buffer.deletes().items()} == {"words": [1, 9]}


def test_deletes_for_segments_on_disk_are_sorted_and_unique() -> None:
    buffer = CollectionBuffer()
    buffer.delete(["words"], np.array([5, 2]), 1)
    buffer.delete(["words", "p"], np.array([2, 3]), 2)
    found = buffer.deletes()
    assert found["words"].tolist() == [2, 3, 5]
    assert found["p"].tolist() == [2, 3]


def test_a_buffer_knows_the_log_records_that_it_stands_for_and_its_bytes() -> None:
    buffer = CollectionBuffer()
    inserted(buffer, "words", [1, 2], 0, 30)
    buffer.delete(["words", "p"], np.array([1]), 40)
    assert (buffer.first_lsn, buffer.last_lsn) == (30, 40)
    assert buffer.nbytes == 2 * (8 + WIDTH) + 2 * 8


def test_a_discarded_collection_is_forgotten_whether_it_was_being_flushed_or_not() -> None:
    buffer = InsertBuffer()
    buffer.insert("words", "words", np.array([1]), np.zeros((1, WIDTH), np.uint8), 1)
    buffer.take("words")
    buffer.insert("words", "words", np.array([2]), np.zeros((1, WIDTH), np.uint8), 2)
    buffer.discard("words")
    assert buffer.pending() == []
    assert buffer.first_lsn() is None
    assert buffer.nbytes == 0


def test_a_view_of_growing_rows_stays_as_it_was_and_begins_behind_a_position() -> None:
    buffer = InsertBuffer()
    for lsn in (1, 2):
        buffer.insert("words", "words", np.array([lsn]), np.zeros((1, WIDTH), np.uint8), lsn)
    buffer.delete("words", ["words"], np.array([7]), 3)
    view = buffer.view("words")
    buffer.delete("words", ["words"], np.array([2]), 4)
    buffer.discard("words")
    assert view.rows(["words"], 0)[0].tolist() == [1, 2]
    assert view.rows(["words"], 1)[0].tolist() == [2]
    assert [view.deletes(["words"], after).tolist() for after in (0, 2, 3)] == [[7], [7], []]
    assert view.last_lsn == 3


class BufferMachine(RuleBasedStateMachine):
    """The buffer of all collections beside a dict: what a log says, what is flushed, what flushes fail."""

    taken = Bundle("taken")

    @initialize()
    def begin(self) -> None:
        self.buffer = InsertBuffer()
        self.lsn = 0
        self.live: dict[tuple[str, str], Rows] = {}
        """Rows that a client would find once everything is flushed, by collection and partition."""
        self.disk: dict[tuple[str, str], Rows] = {}
        self.open: dict[str, list[int]] = {}
        """LSNs that are not flushed, by collection."""

    def _next(self, collection: str) -> int:
        self.lsn += 1
        self.open.setdefault(collection, []).append(self.lsn)
        return self.lsn

    @rule(collection=st.sampled_from("ab"), table_id=st.sampled_from(TABLES), ids=SOME_IDS)
    def insert(self, collection: str, table_id: str, ids: list[int]) -> None:
        lsn = self._next(collection)
        vectors = np.full((len(ids), WIDTH), lsn % 256, np.uint8)
        self.buffer.insert(collection, table_id, np.array(ids, np.int64), vectors, lsn)
        self.live.setdefault((collection, table_id), Counter()).update((i, lsn % 256) for i in ids)

    @rule(collection=st.sampled_from("ab"), table_ids=st.sets(st.sampled_from(TABLES), min_size=1), ids=SOME_IDS)
    def delete(self, collection: str, table_ids: set[str], ids: list[int]) -> None:
        self.buffer.delete(collection, sorted(table_ids), np.unique(np.array(ids, np.int64)), self._next(collection))
        for table_id in table_ids:
            rows = self.live.get((collection, table_id), Counter())
            for row in [row for row in rows if row[0] in ids]:
                del rows[row]

    @rule(target=taken, collection=st.sampled_from("ab"))
    def take(self, collection: str) -> object:
        """Begin a flush; one that failed before is handed out again, so taking is also how a flush fails."""
        found = self.buffer.take(collection)
        assert (found is None) == (not self.open.get(collection))
        return multiple() if found is None else (collection, found)

    @rule(taken=consumes(taken))
    def settle(self, taken: tuple[str, CollectionBuffer]) -> None:
        collection, buffer = taken
        if self.buffer.take(collection) is not buffer:
            return  # settled before, through another hand
        for table_id, ids in buffer.deletes().items():
            rows = self.disk.get((collection, table_id), Counter())
            for row in [row for row in rows if row[0] in set(ids.tolist())]:
                del rows[row]
        for table_id in buffer.table_ids:
            self.disk.setdefault((collection, table_id), Counter()).update(rows_of(buffer, table_id))
        self.open[collection] = [lsn for lsn in self.open[collection] if lsn > buffer.last_lsn]
        self.buffer.settled(collection)

    @rule(collection=st.sampled_from("ab"))
    def discard(self, collection: str) -> None:
        self.buffer.discard(collection)
        self.open.pop(collection, None)
        for rows in (self.live, self.disk):
            for key in [key for key in rows if key[0] == collection]:
                del rows[key]

    @invariant()
    def the_oldest_record_still_needed_is_known(self) -> None:
        needed = [lsn for lsns in self.open.values() for lsn in lsns]
        assert self.buffer.first_lsn() == min(needed, default=None)
        assert set(self.buffer.pending()) == {name for name, lsns in self.open.items() if lsns}
        assert (self.buffer.nbytes > 0) == bool(needed)

    @invariant()
    def what_is_on_disk_and_what_is_growing_are_every_row_once(self) -> None:
        for collection in "ab":
            view = self.buffer.view(collection)
            for table_id in TABLES:
                deleted = set(view.deletes([table_id], 0).tolist())
                disk = self.disk.get((collection, table_id), Counter())
                found = Counter({row: count for row, count in disk.items() if row[0] not in deleted})
                ids, vectors = view.rows([table_id], 0)
                found.update(zip(ids.tolist(), vectors[:, 0].tolist() if len(ids) else [], strict=True))
                assert +found == +self.live.get((collection, table_id), Counter())
            assert view.last_lsn == max(self.open.get(collection, []), default=0)

    def teardown(self) -> None:
        if not hasattr(self, "buffer"):
            return
        for collection in self.buffer.pending():
            while (found := self.buffer.take(collection)) is not None:
                self.settle((collection, found))
        keys = self.live.keys() | self.disk.keys()
        assert {key: +self.live.get(key, Counter()) for key in keys} == {
            key: +self.disk.get(key, Counter()) for key in keys
        }


BufferMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25)
TestBufferMachine = BufferMachine.TestCase
