"""The table of methods: which function serves each RPC, on which threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from milvus_node.catalog import NodeCatalog
from milvus_node.roles import WRITES
from milvus_node.service.commands import Commands
from milvus_node.service.definitions import WriteDefinitions
from milvus_node.service.dispatch import Again, Route, Serve
from milvus_node.service.pools import Pool
from milvus_node.service.rows import RowCalls
from milvus_node.service.search_by_id import SearchByIdCalls
from milvus_node.service.searches import SearchCalls
from milvus_node.service.writes import WriteCalls
from mishards.transport.api import Call
from mishards.wire.describe import ANSWERS, Answer

LeaderCall = Callable[[Call], bytes]


@dataclass(frozen=True, slots=True)
class Pools:
    """The threads of a node, one pool a class of calls."""

    search: Pool
    write: Pool
    definition: Pool
    info: Pool

    def close(self) -> None:
        """Refuse new work."""
        for pool in (self.search, self.write, self.definition, self.info):
            pool.close()

    @property
    def admitted(self) -> int:
        """Calls running or waiting."""
        return sum(self.admitted_each.values())

    @property
    def admitted_each(self) -> dict[str, int]:
        """The same by pool."""
        return {
            "search": self.search.admitted,
            "write": self.write.admitted,
            "definition": self.definition.admitted,
            "info": self.info.admitted,
        }


@dataclass(frozen=True, slots=True)
class ReadCalls:
    """What serves the calls of any role."""

    catalog: NodeCatalog
    searches: SearchCalls
    by_id: SearchByIdCalls
    rows: RowCalls
    commands: Commands


def read_routes(calls: ReadCalls, pools: Pools) -> dict[str, Route]:
    """The methods of any role."""
    searches, rows = calls.searches, calls.rows
    described = {method: Route(_described(answer, calls.catalog), pools.info) for method, answer in ANSWERS.items()}
    return {
        **described,
        "GetVectorsByID": Route(rows.get_vectors_by_id, pools.info),
        "GetVectorIDs": Route(rows.get_vector_ids, pools.info),
        "Search": Route(searches.search, pools.search, searches.search_again),
        "SearchInFiles": Route(searches.search_in_files, pools.search, searches.in_files_again),
        "SearchByID": Route(calls.by_id.search_by_id, pools.search),
        "PreloadCollection": Route(searches.preload, pools.definition),
        "ReleaseCollection": Route(searches.release, pools.info),
        "ReloadSegments": Route(searches.reload_segments, pools.info),
        "Cmd": Route(calls.commands.cmd, pools.info),
    }


def _described(answer: Answer, catalog: NodeCatalog) -> Serve:
    return lambda call: answer(call.request, catalog.now())


@dataclass(frozen=True, slots=True)
class LeaderCalls:
    """What serves the calls of a node that leads."""

    definitions: WriteDefinitions
    writes: WriteCalls

    def by_method(self) -> dict[str, LeaderCall]:
        """Who serves which method."""
        definitions, writes = self.definitions, self.writes
        return {
            "CreateCollection": definitions.create_collection,
            "DropCollection": definitions.drop_collection,
            "CreateIndex": definitions.create_index,
            "DropIndex": definitions.drop_index,
            "CreatePartition": definitions.create_partition,
            "DropPartition": definitions.drop_partition,
            "Insert": writes.insert,
            "DeleteByID": writes.delete_by_id,
            "Flush": writes.flush,
            "Compact": writes.compact,
        }


def write_routes(
    serve: Callable[[str, Call], bytes], search: Serve, search_again: Again, pools: Pools
) -> dict[str, Route]:
    """The methods of the writable role, each given with its name to ``serve``.

    ``search`` stands in for the ``Search`` of any role, and ``search_again`` does what it does at once.
    """
    rows = {"Insert", "DeleteByID"}
    writes = {m: Route(partial(serve, m), pools.write if m in rows else pools.definition) for m in WRITES}
    return {**writes, "Search": Route(search, pools.search, search_again)}
