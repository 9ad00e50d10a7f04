"""Search, SearchInFiles, Preload, Release and ReloadSegments over RPC."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import cast

import numpy as np

from milvus_node.catalog import NodeCatalog
from milvus_node.index import api as index_api
from milvus_node.index.api import Vectors
from milvus_node.search.cache import SegmentCache, key_of
from milvus_node.search.searcher import Query, Searcher, joined
from milvus_node.service.jobs import Share
from milvus_node.service.plans import Plan, Wanted, asks_for_growing_rows, revision_of
from milvus_node.service.stages import Together, waiting
from mishards.catalog.snapshot import Collection, Partition, Segment, Snapshot
from mishards.errors import InvalidFileId
from mishards.kinds import IndexType, MetricType
from mishards.transport.api import Call
from mishards.wire import limits, names
from mishards.wire.alike import AlikeRequests
from mishards.wire.params import SearchParams, search_params
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.replies import ok_status
from mishards.wire.results import encode_results
from mishards.wire.search import SearchEnvelope, SearchInFilesEnvelope
from mishards.wire.vectors import check_finite, vector_rows

_CACHED_TEXT = 1024
"""Characters of parameters that are worth remembering."""


class SearchCalls:
    """The calls that search; any role serves them. Safe from any thread."""

    def __init__(
        self, catalog: NodeCatalog, searcher: Searcher, cache: SegmentCache, reload: Callable[[], None] = lambda: None
    ) -> None:
        """``reload`` is called by ReloadSegments: what was found damaged is to be read again."""
        self._reload = reload
        self._catalog = catalog
        self._searcher = searcher
        self._cache = cache
        self._pruned_version = 0
        self._alike: AlikeRequests[Plan] = AlikeRequests()
        self._alike_in_files: AlikeRequests[Plan] = AlikeRequests()

    def search(self, call: Call) -> Share[bytes]:
        """Search over the collection, or over the partitions that the tags select."""
        envelope = SearchEnvelope.scan(call.request)
        _note(call, envelope)
        snapshot = self._catalog.now()
        collection, query = self._checked(envelope, snapshot)
        segments = selected(collection, envelope.partition_tags)
        plan = Plan(call, snapshot, (collection, segments), query, envelope.partition_tags)
        if self._catalog.is_writer:
            self._alike.remember(call.request, envelope.rows, plan)
        return self._share(plan, query.vectors, call)

    def search_again(self, call: Call) -> Share[bytes] | None:
        """``search`` of a request like one before, without a look at anything; None where that will not do.

        Never blocks. It does only where nobody else changes the catalog.
        """
        if not self._catalog.is_writer or asks_for_growing_rows(call):
            return None
        found = self._alike.find(call.request)
        if found is None or found[0].version != self._catalog.known().version:
            return None
        return self._share(*found, call)

    def search_in_files(self, call: Call) -> Share[bytes]:
        """Search over the files named; without names, over the whole collection."""
        request = SearchInFilesEnvelope.scan(call.request)
        envelope = request.search
        _note(call, envelope)
        if not request.file_ids:
            snapshot = self._catalog.now()
            collection, query = self._checked(envelope, snapshot)
            plan = Plan(call, snapshot, (collection, collection.segments), query, ())
            return self._share(plan, query.vectors, call)
        limits.check_search_files(len(request.file_ids))
        wanted = _numbers(request.file_ids)
        snapshot = self._snapshot_with(wanted, call)
        collection, query = self._checked(envelope, snapshot)
        segments = _found(snapshot, wanted, collection)
        all_known = snapshot.segments_by_file.keys() >= set(wanted)
        if not segments or not (all_known or revision_of(call) is None):
            raise InvalidFileId("Invalid file id")
        plan = Plan(call, snapshot, (collection, segments), query, wanted)
        if all_known:
            self._alike_in_files.remember(call.request, envelope.rows, plan)
        return self._share(plan, query.vectors, call)

    def in_files_again(self, call: Call) -> Share[bytes] | None:
        """``search_in_files`` of a request like one before, without a look at anything; None where that will not do.

        Never blocks.
        """
        found = self._alike_in_files.find(call.request)
        if found is None:
            return None
        snapshot = self._catalog.known()
        revision = revision_of(call)
        if revision is None or revision > snapshot.revision or found[0].version != snapshot.version:
            return None
        return self._share(*found, call)

    def _share(self, plan: Plan, vectors: Vectors, call: Call) -> Share[bytes]:
        """The search itself, to be done with others over the same segments in the same state of the catalog."""
        call.notes.update(plan.notes)
        wanted = Wanted(plan, vectors, call.deadline, waiting())
        return Share(plan.key, len(vectors), wanted, self._search_together, plan.enough)

    def _search_together(self, shares: Sequence[Wanted]) -> list[bytes]:
        plan = shares[0].plan
        with Together([wanted.waiting for wanted in shares], len(plan.segments)) as stages:
            query = joined(plan.like, [(wanted.vectors, wanted.deadline) for wanted in shares])
            check_finite(query.vectors)
            found = self._searcher.search(plan.collection, plan.segments, query)
            stages.searched()
            return encode_results(found, [len(wanted.vectors) for wanted in shares])

    def _checked(self, envelope: SearchEnvelope, snapshot: Snapshot) -> tuple[Collection, Query]:
        self._forget_superseded(snapshot)
        return checked(envelope, snapshot)

    def _forget_superseded(self, snapshot: Snapshot) -> None:
        """Free what the catalog names no more: no search will ask for it. Two threads may both do it, to one end."""
        if snapshot.version > self._pruned_version:
            self._pruned_version = snapshot.version
            self._alike.clear()
            self._alike_in_files.clear()
            self._cache.retain({key_of(segment) for segment in snapshot.segments_by_file.values()})

    def _snapshot_with(self, wanted: Sequence[int], call: Call) -> Snapshot:
        """The known snapshot if it is as new as the router's and knows these files; else one read now.

        Who does not say which revision it works on, a router without the extension or a client, gets the newest that
        can be had. Raises CatalogUnavailable where the router has read what this node cannot.
        """
        revision = revision_of(call)
        if revision is None:
            return self._catalog.now()
        snapshot = self._catalog.at_least(revision)
        known = snapshot.segments_by_file
        return snapshot if all(file_id in known for file_id in wanted) else self._catalog.now()

    def preload(self, call: Call) -> bytes:
        """PreloadCollection: load what a search would need, past the size of the cache if need be."""
        for collection, segment in self._preloaded(call):
            call.deadline.check(f"segment {segment.segment_id} of {collection.name} was loaded")
            with self._cache.hold(collection, segment, call.deadline):
                pass
        return ok_status().SerializeToString()

    def release(self, call: Call) -> bytes:
        """ReleaseCollection: drop from memory; the next search loads again."""
        self._cache.release({key_of(segment) for _, segment in self._preloaded(call)})
        return ok_status().SerializeToString()

    def _preloaded(self, call: Call) -> list[tuple[Collection, Segment]]:
        request = pb.PreloadCollectionParam.FromString(call.request)
        names.check_collection_name(request.collection_name)
        collection = self._catalog.now().collection(request.collection_name)
        return [(collection, segment) for segment in selected(collection, list(request.partition_tag_array))]

    def reload_segments(self, call: Call) -> bytes:
        """ReloadSegments: take notice of deletes, and of repaired files, now instead of at the next look."""
        pb.ReLoadSegmentsParam.FromString(call.request)
        self._reload()
        self._catalog.now()
        return ok_status().SerializeToString()


def checked(envelope: SearchEnvelope, snapshot: Snapshot) -> tuple[Collection, Query]:
    """What a search asks for, checked in the protocol's order. Raises RequestError."""
    names.check_collection_name(envelope.collection_name)
    limits.check_topk(envelope.topk)
    for tag in envelope.partition_tags:
        names.check_partition_tag(tag)
    collection = snapshot.collection(envelope.collection_name)
    check = _checked_params if len(envelope.params) <= _CACHED_TEXT else _checked_params.__wrapped__
    metric, params = check(collection.index_type, collection.metric, envelope.topk, envelope.params)
    rows = vector_rows(envelope.rows, collection.dimension, collection.metric)
    vectors = cast("Vectors", np.ascontiguousarray(rows))
    return collection, Query(vectors, envelope.topk, metric, params)


def _note(call: Call, envelope: SearchEnvelope) -> None:
    call.notes.update(collection=envelope.collection_name, nq=envelope.nq, topk=envelope.topk)


@lru_cache(maxsize=1024)
def _checked_params(
    index_type: IndexType, metric: MetricType, topk: int, text: str
) -> tuple[MetricType, index_api.SearchParams]:
    """The metric to search by, and what the index wants; clients send few different texts."""
    checked = search_params(index_type.on_the_wire, metric, topk, text)
    return checked.metric, index_params(checked)


def index_params(checked: SearchParams) -> index_api.SearchParams:
    """What an index wants of the checked parameters."""
    given = {
        "nprobe": checked.nprobe,
        "ef": checked.ef,
        "search_k": checked.search_k,
        "search_length": checked.search_length,
    }
    return index_api.SearchParams.of({name: value for name, value in given.items() if value is not None})


def selected(collection: Collection, tags: Sequence[str]) -> tuple[Segment, ...]:
    """The segments of the partitions that the tags select; of all without tags.

    Raises:
        PartitionError: no partition matches.
    """
    if not tags:
        return collection.segments
    return tuple(segment for partition in partitions_of(collection, tags) for segment in partition.segments)


def partitions_of(collection: Collection, tags: Sequence[str]) -> tuple[Partition, ...]:
    """The partitions that the tags select; all without tags. Raises as ``selected``."""
    chosen = frozenset(names.match_tags(tags, collection.partition_tags[1:]))
    return tuple(partition for partition in collection.partitions if partition.tag in chosen)


_MAX_DIGITS = 20  # of an unsigned number of 64 bits


def _numbers(file_ids: Iterable[str]) -> list[int]:
    numbers = []
    for file_id in file_ids:
        if not (file_id.isascii() and file_id.isdecimal() and len(file_id) <= _MAX_DIGITS):
            raise InvalidFileId("stoul")  # the protocol's text for an id that is no number
        numbers.append(int(file_id))
    return numbers


def _found(snapshot: Snapshot, wanted: Iterable[int], collection: Collection) -> list[Segment]:
    """The segments of these files, each once; files that nobody knows are left out, as the protocol has it."""
    tables = {partition.table_id for partition in collection.partitions}
    found = {}
    for file_id in wanted:
        segment = snapshot.segments_by_file.get(file_id)
        if segment is not None and segment.table_id in tables:
            found[segment.table_id, segment.segment_id] = segment
    return list(found.values())
