"""A search over a damaged segment fails naming it, and the node says so; other collections are searched."""

from __future__ import annotations

from typing import Any

import pytest

from harness.node_rpc import Rpc, floats, ok, status
from milvus_node.errors import SegmentDamaged
from milvus_node.storage import raw_segment


@pytest.fixture
def damaged(rpc: Rpc, monkeypatch: pytest.MonkeyPatch) -> Rpc:
    """A node that finds the first segment of ``words`` damaged, as of a memory error: its files are as they were."""
    for name in ("words", "other"):
        rpc.create(name)
        rpc.insert(floats(1, 2), [1, 2], name=name)
    rpc.insert(floats(3), [3])
    with monkeypatch.context() as failing:
        failing.setattr(raw_segment, "verify", _damage)
        assert "is damaged" in status(rpc.search(floats(1)))[1]
    return rpc


def _damage(path: Any, _: object) -> None:
    raise SegmentDamaged(f"{path} is damaged")


def test_a_damaged_segment_is_named_by_every_search_and_read_by_none(
    damaged: Rpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    (warning,) = damaged.node.warnings()
    ok(damaged.search(floats(1), name="other"))
    monkeypatch.setattr(raw_segment, "_open", pytest.fail)
    for _ in range(2):
        code, reason = status(damaged.search(floats(1)))
        assert code != 0
        assert reason == warning
    ok(damaged.search(floats(1), name="other"))


def test_reload_segments_lets_a_damaged_segment_be_read_again(damaged: Rpc) -> None:
    assert status(damaged.search(floats(1)))[0] != 0
    ok(damaged.ReloadSegments(collection_name="words"))
    assert list(ok(damaged.search(floats(1))).ids) == [1, 2, 3]
    assert damaged.node.warnings() == []
