"""The table of methods: which function serves each RPC, on which threads."""

from __future__ import annotations

from dataclasses import dataclass

from milvus_node.service.commands import Commands
from milvus_node.service.definitions import ReadDefinitions, WriteDefinitions
from milvus_node.service.dispatch import Route
from milvus_node.service.growing import GrowingCalls
from milvus_node.service.pools import Pool
from milvus_node.service.rows import RowCalls
from milvus_node.service.search_by_id import SearchByIdCalls
from milvus_node.service.searches import SearchCalls
from milvus_node.service.writes import WriteCalls


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

    definitions: ReadDefinitions
    searches: SearchCalls
    by_id: SearchByIdCalls
    rows: RowCalls
    commands: Commands


def read_routes(calls: ReadCalls, pools: Pools) -> dict[str, Route]:
    """The methods of any role."""
    definitions, searches, rows = calls.definitions, calls.searches, calls.rows
    return {
        "HasCollection": Route(definitions.has_collection, pools.info),
        "DescribeCollection": Route(definitions.describe_collection, pools.info),
        "CountCollection": Route(definitions.count_collection, pools.info),
        "ShowCollections": Route(definitions.show_collections, pools.info),
        "ShowCollectionInfo": Route(definitions.show_collection_info, pools.info),
        "DescribeIndex": Route(definitions.describe_index, pools.info),
        "HasPartition": Route(definitions.has_partition, pools.info),
        "ShowPartitions": Route(definitions.show_partitions, pools.info),
        "GetVectorsByID": Route(rows.get_vectors_by_id, pools.info),
        "GetVectorIDs": Route(rows.get_vector_ids, pools.info),
        "Search": Route(searches.search, pools.search),
        "SearchInFiles": Route(searches.search_in_files, pools.search),
        "SearchByID": Route(calls.by_id.search_by_id, pools.search),
        "PreloadCollection": Route(searches.preload, pools.definition),
        "ReleaseCollection": Route(searches.release, pools.info),
        "ReloadSegments": Route(searches.reload_segments, pools.info),
        "Cmd": Route(calls.commands.cmd, pools.info),
    }


def write_routes(
    definitions: WriteDefinitions, writes: WriteCalls, growing: GrowingCalls, pools: Pools
) -> dict[str, Route]:
    """The methods of the writable role; its ``Search`` stands in for that of any role."""
    return {
        "Search": Route(growing.search, pools.search),
        "CreateCollection": Route(definitions.create_collection, pools.definition),
        "DropCollection": Route(definitions.drop_collection, pools.definition),
        "CreateIndex": Route(definitions.create_index, pools.definition),
        "DropIndex": Route(definitions.drop_index, pools.definition),
        "CreatePartition": Route(definitions.create_partition, pools.definition),
        "DropPartition": Route(definitions.drop_partition, pools.definition),
        "Insert": Route(writes.insert, pools.write),
        "DeleteByID": Route(writes.delete_by_id, pools.write),
        "Flush": Route(writes.flush, pools.definition),
        "Compact": Route(writes.compact, pools.definition),
    }
