from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harness.write_path import WAIT_S, OpenWritePath, WritePath
from milvus_node.errors import SegmentDamaged
from milvus_node.ingest.recovery import flushed_lsn
from milvus_node.storage.segment_folder import SegmentFolder
from mishards.catalog.records import IdMode
from mishards.deadline import Deadline
from mishards.errors import CatalogUnavailable, CollectionExists, CollectionNotFound, IllegalIds, PartitionError

IDS = st.lists(st.integers(0, 8), min_size=1, max_size=4)


def refuse(*_: Any, **__: Any) -> Any:
    raise CatalogUnavailable("the database is away")


def test_acknowledged_rows_and_deletes_are_visible_after_a_crash(open_node: OpenWritePath) -> None:
    node = open_node()
    node.create()
    node.insert([1, 2, 3])
    node.flush()
    node.insert([4, 5])
    node.delete([1, 4])
    node = open_node()
    assert node.recovered == 2
    assert node.ids() == [2, 3, 5]


def test_recovering_again_applies_nothing_twice(open_node: OpenWritePath) -> None:
    node = open_node()
    node.create()
    node.insert([1, 2])
    assert open_node().recovered == 1
    node = open_node()
    assert node.recovered == 0
    assert node.ids() == [1, 2]


def test_rows_logged_before_the_id_mode_was_read_back_fix_it(
    open_node: OpenWritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = open_node()
    node.create()
    monkeypatch.setattr(node.parts.definitions, "set_id_mode", lambda *_: None)  # as logs of a lost answer have it
    node.insert([1])
    node = open_node()
    assert node.collection().id_mode is IdMode.USER
    assert node.ids() == [1]


def test_a_log_larger_than_the_buffer_is_flushed_as_it_is_read(open_node: OpenWritePath) -> None:
    node = open_node()
    node.create()
    for start in range(0, 50, 10):
        node.insert(list(range(start, start + 10)))
    node.delete([7])
    node = open_node(buffer_bytes=500)
    assert node.ids() == [i for i in range(50) if i != 7]
    assert len(node.collection().segments) > 1


def test_a_crash_in_the_middle_of_a_recovery_loses_and_doubles_nothing(
    open_node: OpenWritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = open_node()
    node.create()
    for start in range(0, 50, 10):
        node.insert(list(range(start, start + 10)))
    write, calls = SegmentFolder.write_raw, 0

    def die_at_the_second(*args: Any, **kwargs: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            refuse()
        write(*args, **kwargs)

    node.close()  # before the folder is taken again by what fails
    with monkeypatch.context() as failing:
        failing.setattr(SegmentFolder, "write_raw", die_at_the_second)
        with pytest.raises(CatalogUnavailable):
            open_node(buffer_bytes=500)
    assert calls == 2


def test_a_damaged_segment_does_not_keep_the_node_from_starting(
    open_node: OpenWritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = open_node()
    node.create()
    node.create("healthy")
    node.insert([1])
    node.flush()
    node.delete([1])
    node.insert([2])
    node.insert_into(node.collection("healthy"), [3])
    read_ids = SegmentFolder.read_ids

    def damaged(folder: SegmentFolder) -> Any:
        raise SegmentDamaged(f"{folder.path} is damaged")

    with monkeypatch.context() as failing:
        failing.setattr(SegmentFolder, "read_ids", damaged)
        node = open_node()
        failing.setattr(SegmentFolder, "read_ids", read_ids)
        assert node.ids("healthy") == [3]
        assert node.ids() == [2]  # with the delete that was kept beside the segment
        assert len(node.folders()) == 2


def test_a_log_goes_on_above_everything_that_the_catalog_has_recorded(open_node: OpenWritePath, tmp_path: Path) -> None:
    node = open_node()
    node.create()
    node.insert([1])
    node.flush()
    position = flushed_lsn(node.catalog.refreshed())
    node.close()
    for path in (tmp_path / "storage" / "wal").iterdir():
        path.unlink()  # the log's disk was lost
    again = WritePath(tmp_path / "storage")
    try:
        again.insert([2])
        assert again.wal.last_lsn > position
    finally:
        again.close()
    last = WritePath(tmp_path / "storage")
    try:
        assert last.ids() == [1, 2]
    finally:
        last.close()


class CrashMachine(RuleBasedStateMachine):
    """Everything a client can do, with crashes in between, beside a dict."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()

    @initialize()
    def begin(self) -> None:
        self.node = WritePath(Path(self._folder.name), buffer_bytes=600)
        self.rows: dict[str, dict[str, Counter[tuple[int, float]]]] = {}
        """What a flush shows: by collection and tag, how often each row is there."""
        self.value = 0.0

    @rule(name=st.sampled_from("ab"))
    def create(self, name: str) -> None:
        try:
            self.node.create(name)
        except CollectionExists:
            assert name in self.rows
        else:
            assert name not in self.rows
            self.rows[name] = {"_default": Counter()}

    @rule(name=st.sampled_from("ab"))
    def drop(self, name: str) -> None:
        if name not in self.rows:
            with pytest.raises(CollectionNotFound):
                self.node.collection(name)
            return
        self.node.collections.drop(self.node.collection(name))
        del self.rows[name]

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def create_partition(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.rows)))
        try:
            self.node.collections.create_partition(self.node.collection(name), "p")
        except PartitionError:
            assert "p" in self.rows[name]
        else:
            self.rows[name]["p"] = Counter()

    @precondition(lambda self: any("p" in tags for tags in self.rows.values()))
    @rule(data=st.data())
    def drop_partition(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(name for name, tags in self.rows.items() if "p" in tags)))
        collection = self.node.collection(name)
        partition = collection.partition("p")
        assert partition is not None
        self.node.collections.drop_partition(collection, partition)
        del self.rows[name]["p"]

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), ids=IDS)
    def insert(self, data: st.DataObject, ids: list[int]) -> None:
        name = data.draw(st.sampled_from(sorted(self.rows)))
        tag = data.draw(st.sampled_from(sorted(self.rows[name])))
        self.value += 1
        self.node.insert_into(self.node.collection(name), ids, self.value, tag=tag)
        self.rows[name][tag].update((i, self.value) for i in ids)

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), ids=IDS)
    def delete(self, data: st.DataObject, ids: list[int]) -> None:
        name = data.draw(st.sampled_from(sorted(self.rows)))
        tag = data.draw(st.sampled_from(["", *sorted(self.rows[name])]))
        self.node.rows.delete(self.node.collection(name), tag, ids, Deadline.after(WAIT_S))
        for found, rows in self.rows[name].items():
            if tag in ("", found):
                for row in [row for row in rows if row[0] in ids]:
                    del rows[row]

    @rule()
    def flush(self) -> None:
        self.node.flusher.flush_all()

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def rewrite(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.rows)))
        self.node.rewriter.compact(name)
        self.node.collections.merge_all(name)

    @rule(failing=st.sampled_from(["refreshed", "flush before", "flush after", "settled"]))
    def fail_to_flush_and_crash(self, failing: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            if failing == "refreshed":
                patch.setattr(self.node.catalog, "refreshed", refuse)
            elif failing == "settled":
                patch.setattr(self.node.parts.buffer, "settled", refuse)
            else:
                commit = self.node.parts.files.flush

                def commit_and_fail(*args: Any) -> None:
                    if failing == "flush after":
                        commit(*args)
                    refuse()

                patch.setattr(self.node.parts.files, "flush", commit_and_fail)
            pending = bool(self.node.parts.buffer.pending())
            try:
                self.node.flusher.flush_all()
            except CatalogUnavailable:
                assert pending
        self.crash()

    @rule()
    def crash(self) -> None:
        self.node.close()
        self.node = WritePath(Path(self._folder.name), buffer_bytes=600)
        self._check()

    @rule()
    def mix_kinds_of_ids(self) -> None:
        for name, tags in self.rows.items():
            if any(tags.values()):
                with pytest.raises(IllegalIds):
                    self.node.insert_into(self.node.collection(name), None, rows=1)

    @invariant()
    def the_catalog_counts_what_is_on_disk(self) -> None:
        for name in self.rows:
            assert self.node.collection(name).rows == self.node.visible(name).total()

    def _check(self) -> None:
        assert set(self.node.catalog.refreshed().collections) == set(self.rows)
        for name, tags in self.rows.items():
            for tag, rows in tags.items():
                assert self.node.visible(name, tag) == +rows

    def teardown(self) -> None:
        self.node.flusher.flush_all()
        self._check()
        self.node.close()
        self._folder.cleanup()


CrashMachine.TestCase.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
TestCrashMachine = CrashMachine.TestCase
