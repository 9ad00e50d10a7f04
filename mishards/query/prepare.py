"""The first half of a search: its request checked, its snapshot chosen, its route found.

The checks and their order are those of a node, so that a refusal reads the same wherever it happens.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from mishards.catalog.snapshot import Collection, Snapshot
from mishards.deadline import Deadline
from mishards.errors import InvalidFileId, Overloaded, PartitionError, RequestError
from mishards.logs import notes
from mishards.query.choice import Choice
from mishards.query.options import Consistency, SearchOptions
from mishards.query.route import Route, Routes, restricted
from mishards.query.snapshots import Snapshots
from mishards.query.writer import WriterLeg
from mishards.tracing import spans
from mishards.wire.limits import check_search_files, check_topk
from mishards.wire.names import check_collection_name, check_partition_tag
from mishards.wire.params import SearchParams, search_params
from mishards.wire.search import SearchEnvelope
from mishards.wire.vectors import vector_rows

_cached_params = lru_cache(maxsize=1024)(search_params)
"""Clients send the same few texts again and again. Errors are not kept."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A search whose request has been checked, on the snapshot that it works on.

    ``files`` are the row ids of files to which a client has limited it; None for all that its tags select. ``growing``
    says that rows in no segment yet belong to it too.
    """

    envelope: SearchEnvelope
    files: frozenset[int] | None
    params: SearchParams
    snapshot: Snapshot
    route: Route
    level: Consistency = Consistency.EVENTUALLY
    growing: bool = False

    @property
    def position(self) -> int:
        """How far, in the writable node's log, the collection is in segments."""
        return self.snapshot.collection(self.envelope.collection_name).table.flush_lsn


class Preparation:
    """Prepares searches. Belongs to the event loop."""

    def __init__(
        self, snapshots: Snapshots, routes: Routes, choice: Choice, leg: WriterLeg, options: SearchOptions
    ) -> None:
        self._snapshots = snapshots
        self._routes = routes
        self._choice = choice
        self.leg = leg
        self._options = options

    def reconfigure(self, options: SearchOptions) -> None:
        """Go by other options from now on."""
        self._options = options

    async def prepared(self, envelope: SearchEnvelope, files: frozenset[int] | None, deadline: Deadline) -> Wanted:
        """Check the request on a snapshot; before it is refused, the catalog is read once more: it may have changed.

        Raises:
            RequestError: what a node would refuse.
            ClusterError, CatalogError: the consistency level cannot be had now.
        """
        notes.add(collection=envelope.collection_name, nq=envelope.nq, topk=envelope.topk, retries=0)
        check_collection_name(envelope.collection_name)
        check_topk(envelope.topk)
        self.check_size(envelope.nq, envelope.topk)
        for tag in envelope.partition_tags:
            check_partition_tag(tag)
        options = self._options
        level = Consistency.EVENTUALLY if options.consistency is Consistency.STRONG else options.consistency
        snapshot = await self._snapshots.at(level, options.graceful_time_ms, deadline)
        try:
            return await self._on(snapshot, envelope, files, deadline)
        except RequestError:
            newer = await self._snapshots.fresh(deadline)
            if newer.version == snapshot.version:
                raise
            return await self._on(newer, envelope, files, deadline)

    async def anew(self, wanted: Wanted, deadline: Deadline) -> Wanted:
        """The same search on a snapshot read now. Raises RequestError when what it searches is gone."""
        return self.renewed(wanted, await self._snapshots.fresh(deadline))

    def renewed(self, wanted: Wanted, snapshot: Snapshot) -> Wanted:
        """The same search on another snapshot, or with other owners. Raises as ``anew``."""
        routed = self.routed(snapshot, wanted.envelope, wanted.files)
        return replace(routed, level=wanted.level, growing=wanted.growing)

    def routed(self, snapshot: Snapshot, envelope: SearchEnvelope, files: frozenset[int] | None) -> Wanted:
        """Find the route on a snapshot, with the owners there are now."""
        collection = snapshot.collection(envelope.collection_name)
        params = _params(envelope, collection)
        tags = () if files is not None else envelope.partition_tags
        try:
            route = self._routes.route(snapshot, collection, tags, self._choice.owners())
            if files is not None:
                route = restricted(route, snapshot, files)
        except (PartitionError, InvalidFileId):
            vector_rows(envelope.rows, collection.dimension, collection.metric)
            raise
        if not route.segments:
            vector_rows(envelope.rows, collection.dimension, collection.metric)
        check_search_files(len(route.segments))
        if spans.active() is not None:
            _tag(snapshot, route, params, tags)
        notes.add(segments=len(route.segments), snapshot=snapshot.version)
        return Wanted(envelope, files, params, snapshot, route)

    async def _on(
        self, snapshot: Snapshot, envelope: SearchEnvelope, files: frozenset[int] | None, deadline: Deadline
    ) -> Wanted:
        params = _params(envelope, snapshot.collection(envelope.collection_name))
        level, graceful = self.level(params)
        spans.tag(consistency=level.value)
        if files is None and level is Consistency.STRONG and self.leg.has_growing(snapshot):
            return replace(self.routed(snapshot, envelope, files), level=level, growing=True)
        if level is Consistency.STRONG:
            await self.leg.flush([envelope.collection_name], deadline)
        if level is Consistency.STRONG or params.consistency_level or params.graceful_time_ms is not None:
            snapshot = await self._snapshots.at(level, graceful, deadline)
        wanted = self.routed(snapshot, envelope, files)
        if files is None and level is Consistency.SESSION and self.has_unflushed(wanted):
            return replace(wanted, level=level, growing=True)
        return wanted

    def has_unflushed(self, wanted: Wanted) -> bool:
        """May there be rows that were written through this router and are in no segment of the search?"""
        name = wanted.envelope.collection_name
        return self._snapshots.unflushed.mark(name, wanted.position) is not None and self.leg.has_growing(
            wanted.snapshot
        )

    def check_size(self, nq: int, topk: int) -> None:
        """Raise Overloaded where a search asks for more results than are allowed."""
        limit = self._options.max_results
        if limit and nq * topk > limit:
            raise Overloaded(f"{nq} query vectors x topk {topk} ask for {nq * topk} results, the limit is {limit}")

    def level(self, params: SearchParams) -> tuple[Consistency, int]:
        """The consistency level of a search, and how many milliseconds old its snapshot may be."""
        level, graceful = params.consistency_level, params.graceful_time_ms
        return (
            Consistency(level.lower()) if level else self._options.consistency,
            self._options.graceful_time_ms if graceful is None else graceful,
        )


def _tag(snapshot: Snapshot, route: Route, params: SearchParams, tags: Sequence[str]) -> None:
    spans.tag(
        partitions=",".join(tags),
        snapshot_version=snapshot.version,
        snapshot_revision=snapshot.revision,
        snapshot_age_ms=(time.monotonic() - snapshot.taken_at) * 1000,
        segments=len(route.segments),
        rows=sum(group.rows for group in route.groups),
        metric=params.metric.name,
    )


def _params(envelope: SearchEnvelope, collection: Collection) -> SearchParams:
    index_type = collection.index_type.on_the_wire
    return _cached_params(index_type, collection.metric, envelope.topk, envelope.params)
