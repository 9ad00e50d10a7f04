"""Search replies of several nodes into the reply of one server, bytes to bytes.

Ids are not decoded: the merge moves them as the opaque bytes they came in, except where equal distances ask for
their order. The answer is that of ``mishards.topk.merge`` whatever the path. Where no row has topk hits, the rows are
as wide as the most hits that one has, or one place wider, which is how one server lays out a short answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import neg

import numpy as np
from google.protobuf.message import DecodeError

from mishards.errors import MalformedReply
from mishards.topk import EMPTY_DISTANCE, EMPTY_RANK, NO_ID, rank, select
from mishards.wire.packed_ids import FixedIds, RaggedIds
from mishards.wire.protos.milvus_pb2 import TopKQueryResult
from mishards.wire.replies import OK_FIELD
from mishards.wire.results import PackedResult, join_result, scan_result
from mishards.wire.varints import MAX_BYTES, longest_varint

_FEW_BYTES = 4096  # of all replies; below this protobuf's objects and a list's sort are faster than numpy's set-up
_ONE_QUERY = OK_FIELD + b"\x10\x01\x1a"  # status, row_num 1, the tag of the ids


def merge_results(replies: Sequence[bytes], topk: int, larger_is_nearer: bool) -> bytes:
    """Merge successful replies to one search of the same queries; return the encoded ``TopKQueryResult``.

    Replies without rows count for nothing; when no other is left, the answer has no rows either. A long reply that
    is alone passes unchanged where it is final already: no negative id and so no placeholder, no wider than ``topk``,
    every row strictly in the metric's order.

    Raises:
        MalformedReply: a reply is no successful ``TopKQueryResult``, or they disagree on the number of queries.
    """
    if sum(map(len, replies)) < _FEW_BYTES:
        merged = _merge_one_query(replies, topk, larger_is_nearer)
        if merged is not None:
            return merged
    parts = [scan_result(reply) for reply in replies]
    for part in parts:
        if part.code:
            raise MalformedReply(f"search reply with code {part.code} cannot be merged: {part.reason}")
    answers = [at for at, part in enumerate(parts) if part.row_num]
    if not answers:
        return OK_FIELD
    if len({parts[at].row_num for at in answers}) > 1:
        raise MalformedReply(f"search replies disagree: {[part.row_num for part in parts]} queries answered")
    if len(answers) == 1 and _is_final(parts[answers[0]], topk, larger_is_nearer):
        return replies[answers[0]]
    return _merge([parts[at] for at in answers], topk, larger_is_nearer)


def _merge_one_query(replies: Sequence[bytes], topk: int, larger_is_nearer: bool) -> bytes | None:
    """Merge short replies to a single query, in the form that every encoder writes. None where one is different."""
    for reply in replies:
        if not reply.startswith(_ONE_QUERY) and reply != OK_FIELD:
            return None
    try:
        joined = TopKQueryResult.FromString(b"".join(replies))  # protobuf joins the lists
    except DecodeError:
        return None
    ids, distances = joined.ids[:], joined.distances[:]
    total = sum(distances)
    if len(ids) != len(distances) or joined.row_num != (1 if ids else 0) or joined.status.error_code:
        return None
    if total != total:
        return None  # NaN has no order
    if not ids:
        return OK_FIELD
    hits = sorted(zip(map(neg, distances) if larger_is_nearer else distances, ids, strict=True))
    if NO_ID in ids:
        hits = [hit for hit in hits if hit[1] != NO_ID]
    merged = TopKQueryResult(row_num=1, ids=[hit[1] for hit in hits[:topk]])
    merged.distances.extend([-hit[0] for hit in hits[:topk]] if larger_is_nearer else [hit[0] for hit in hits[:topk]])
    if len(hits) < topk:
        merged.ids.append(NO_ID)
        merged.distances.append(float(EMPTY_DISTANCE))
    return OK_FIELD + merged.SerializeToString()


def _is_final(part: PackedResult, topk: int, larger_is_nearer: bool) -> bool:
    if part.width > topk or longest_varint(part.ids) >= MAX_BYTES:  # an id may be NO_ID, or is none at all
        return False
    ranks = rank(np.ascontiguousarray(part.distances).reshape(part.row_num, part.width), larger_is_nearer)
    return bool((ranks[:, 1:] > ranks[:, :-1]).all())


def _merge(parts: Sequence[PackedResult], topk: int, larger_is_nearer: bool) -> bytes:
    rows, width = parts[0].row_num, max(part.width for part in parts)
    distances = np.full((len(parts), rows, width), EMPTY_DISTANCE, np.float32)
    for at, part in enumerate(parts):
        distances[at, :, : part.width] = part.distances.reshape(rows, part.width)
    ranks = rank(distances, larger_is_nearer)
    fixed = FixedIds.of(parts)
    if fixed is not None:
        slots = select(ranks, topk, fixed.decoded)
        return join_result(rows, fixed.encoded(slots), distances.ravel().take(slots))
    ids = RaggedIds(parts, width)
    empty = ids.empty_places()
    if empty.any():
        ranks = np.where(empty, EMPTY_RANK, ranks)
    slots = select(ranks, topk, ids.decoded)
    hit = ranks.ravel().take(slots) != EMPTY_RANK
    wide = int(hit.sum(axis=1).max()) + 1
    found = np.where(hit, distances.ravel().take(slots), EMPTY_DISTANCE)
    return join_result(rows, ids.encoded(slots[:, :wide]), found[:, :wide])
