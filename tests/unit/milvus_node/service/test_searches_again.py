"""Searches like one before, which are answered without being looked at again."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from harness.node_rpc import Rpc, floats, ok, search_param, status
from milvus_node.service.searches import SearchCalls
from mishards.deadline import Deadline
from mishards.errors import IllegalRows
from mishards.transport.api import Call
from mishards.wire.extensions import REVISION_KEY
from mishards.wire.protos import milvus_pb2 as pb

AS_A_ROUTER = [(REVISION_KEY, "0")]


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The requests that were looked at, in their order."""
    requests: list[bytes] = []
    serve = SearchCalls.search_in_files

    def watched(self: SearchCalls, call: Call) -> object:
        requests.append(call.request)
        return serve(self, call)

    monkeypatch.setattr(SearchCalls, "search_in_files", watched)
    return requests


@pytest.fixture
def words(looked: list[bytes], rpc: Rpc) -> Rpc:
    """A node with ten rows, 0 to 9, which have their value as id."""
    assert looked == []
    rpc.create()
    rpc.insert(floats(*range(10)), list(range(10)))
    return rpc


def nearest(rpc: Rpc, *values: float, topk: int = 1, router: bool = True) -> list[int]:
    request = pb.SearchInFilesParam(file_id_array=rpc.file_ids(), search_param=search_param(floats(*values), topk))
    return list(ok(rpc.call("SearchInFiles", request, AS_A_ROUTER if router else ())).ids)


def test_a_search_with_other_vectors_alone_is_not_looked_at_again(words: Rpc, looked: list[bytes]) -> None:
    assert [nearest(words, value) for value in (1, 5, 8)] == [[1], [5], [8]]
    assert len(looked) == 1
    assert nearest(words, 3, 4, topk=2) == [3, 2, 4, 3]
    assert nearest(words, 7, 2, topk=2)[::2] == [7, 2]
    assert len(looked) == 2


def test_a_change_of_the_catalog_has_searches_looked_at_again(words: Rpc, looked: list[bytes]) -> None:
    assert nearest(words, 5) == [5]
    ok(words.DeleteByID(collection_name="words", id_array=[5, 6]))
    ok(words.Flush(collection_name_array=["words"]))
    assert nearest(words, 5) == [4]
    assert nearest(words, 9) == [9]
    assert len(looked) == 2


def test_who_does_not_say_what_it_works_on_or_works_on_something_newer_is_looked_at(
    words: Rpc, looked: list[bytes]
) -> None:
    nearest(words, 5)
    assert nearest(words, 6, router=False) == [6]
    assert len(looked) == 2
    request = pb.SearchInFilesParam(file_id_array=words.file_ids(), search_param=search_param(floats(7), 1))
    reply = words.call("SearchInFiles", request, [(REVISION_KEY, "99999")])
    assert "revision 99999" in reply.status.reason
    assert len(looked) == 3


def test_values_that_are_no_numbers_fail_their_own_search_alone(words: Rpc, looked: list[bytes]) -> None:
    nearest(words, 0)
    files = words.file_ids()

    async def many() -> list[bytes]:
        requests = [
            pb.SearchInFilesParam(file_id_array=files, search_param=search_param(floats(value), 1))
            for value in (1, np.nan, 2, np.inf, 3)
        ]
        return await asyncio.gather(*(words.begin("SearchInFiles", each, AS_A_ROUTER) for each in requests))

    replies = [pb.TopKQueryResult.FromString(reply) for reply in words._loop.run_until_complete(many())]
    assert [list(reply.ids) for reply in replies] == [[1], [], [2], [], [3]]
    for bad in (replies[1], replies[3]):
        code, reason = status(bad)
        assert code == IllegalRows.code
        assert reason.startswith("Vector 0 has a value that is NaN or infinite")
    assert len(looked) == 1


def test_the_notes_of_a_search_that_was_not_looked_at_say_the_same(words: Rpc, looked: list[bytes]) -> None:
    request = pb.SearchInFilesParam(file_id_array=words.file_ids(), search_param=search_param(floats(1, 2), 3))
    calls = [Call("SearchInFiles", request.SerializeToString(), AS_A_ROUTER, Deadline.after(20)) for _ in range(2)]
    for call in calls:
        words._loop.run_until_complete(words._serve(call))
    assert len(looked) == 1
    first, second = ({key: value for key, value in call.notes.items() if not key.endswith("_ms")} for call in calls)
    assert first == second == {"collection": "words", "nq": 2, "topk": 3, "segments": 1}
    assert calls[0].notes.keys() == calls[1].notes.keys()
