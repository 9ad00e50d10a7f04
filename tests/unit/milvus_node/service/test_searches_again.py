"""Searches like one before, which are answered without being looked at again."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from harness.node_rpc import Rpc, floats, ok, search_param, status
from milvus_node.service.searches import SearchCalls
from mishards.deadline import Deadline
from mishards.errors import DeadlineExceeded, IllegalRows
from mishards.transport.api import Call, answered_by, settling
from mishards.wire.extensions import GROWING_KEY, REVISION_KEY
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


def told(rpc: Rpc, method: str, request: Any, router: bool = True) -> tuple[bytes, bytes] | None:
    """The answer on the short way, and the one on the usual way; None where there is no short way."""
    dispatcher, sent = rpc._serve, request.SerializeToString()
    metadata = AS_A_ROUTER if router else []

    async def both() -> tuple[bytes, bytes] | None:
        outcome: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        short = Call(method, sent, metadata, Deadline.after(20))
        if dispatcher.begin(short, settling(outcome)) is None:
            return None
        usual = Call(method, sent, metadata, Deadline.after(20))
        usual_again = Call(method, sent, metadata, Deadline.after(20))
        replies = await outcome, await dispatcher(usual), await answered_by(dispatcher, usual_again)
        assert replies[1] == replies[2]
        assert {key for key in short.notes if key.endswith("_ms")} == {"wait_ms", "check_ms", "search_ms"}
        assert short.notes.keys() == usual.notes.keys()
        return replies[:2]

    return rpc._loop.run_until_complete(both())


@pytest.mark.parametrize("rows", [1, 3])
def test_both_ways_answer_the_same(words: Rpc, rows: int) -> None:
    files = words.file_ids()
    rows_wanted = floats(*np.random.default_rng(rows).uniform(0, 9, rows))
    search = search_param(rows_wanted, 4)
    in_files = pb.SearchInFilesParam(file_id_array=files, search_param=search)
    for method, request in (("Search", search), ("SearchInFiles", in_files)):
        assert told(words, method, request) is None  # for the first time
        words.call(method, request, AS_A_ROUTER)
        answers = told(words, method, request)
        assert answers is not None
        assert answers[0] == answers[1]
        assert len(pb.TopKQueryResult.FromString(answers[0]).ids) == 4 * rows


def test_a_change_of_the_catalog_closes_the_short_way_until_a_search_was_looked_at(words: Rpc) -> None:
    search = search_param(floats(5), 1)
    ok(words.call("Search", search))
    assert told(words, "Search", search) is not None
    ok(words.DeleteByID(collection_name="words", id_array=[5]))
    ok(words.Flush(collection_name_array=["words"]))
    assert told(words, "Search", search) is None
    assert list(ok(words.call("Search", search)).ids) == [4]
    assert told(words, "Search", search) is not None


def test_who_asks_for_growing_rows_gets_them(words: Rpc) -> None:
    search = search_param(floats(5), 1)
    ok(words.call("Search", search))
    call = Call("Search", search.SerializeToString(), [(GROWING_KEY, "0")], Deadline.after(20))
    assert words._serve.begin(call, lambda *_: None) is None


def test_a_node_that_others_write_for_reads_the_catalog_for_a_client_of_its_own(words: Rpc, reader: Rpc) -> None:
    search = search_param(floats(5), 1)
    ok(reader.call("Search", search))
    assert told(reader, "Search", search, router=False) is None
    in_files = pb.SearchInFilesParam(file_id_array=words.file_ids(), search_param=search)
    ok(reader.call("SearchInFiles", in_files, AS_A_ROUTER))
    assert told(reader, "SearchInFiles", in_files, router=False) is None
    assert told(reader, "SearchInFiles", in_files) is not None


def test_a_search_whose_time_is_up_is_told_so_on_both_ways(words: Rpc) -> None:
    search = search_param(floats(5), 1)
    ok(words.call("Search", search))
    serve, late = words._serve, Deadline(0.0)

    async def answer(short: bool) -> bytes:
        call = Call("Search", search.SerializeToString(), (), late)
        return await (answered_by(serve, call) if short else serve(call))

    for short in (True, False):
        with pytest.raises(DeadlineExceeded, match="deadline passed before the search of segment"):
            words._loop.run_until_complete(answer(short))
