"""Compares all that is in a collection, row by row, with what must be there: in the end, while nothing is under way.

Each row is read three ways: by its id, as the nearest to itself, and from the lists of its segments.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.client import RemoteClient
from harness.rpc import Rpc, params
from harness.truth import Truth
from harness.waiting import eventually

_BATCH = 500
_TIMEOUT_S = 60.0
_STRONG = json.dumps({"consistency_level": "Strong", "nprobe": 4096})


def differences(address: str, collection: str, truth: Truth, client_python: Path | None = None) -> list[str]:
    """Return what is other than it must be, or nothing; the unmodified client reads too if its interpreter is given."""
    known = truth.known()
    with Rpc(address) as rpc:
        flushed = rpc.call("Flush", timeout_s=_TIMEOUT_S, collection_name_array=[collection])
        stored = _rows(known, lambda ids: _by_id(rpc, collection, ids))
        present = sorted(stored)
        counted = rpc.call("CountCollection", timeout_s=_TIMEOUT_S, collection_name=collection).collection_row_count
        whole = eventually(
            lambda: [each for each in [_listed(rpc, collection)] if each is not None], 60, "a whole list"
        )
        listed = whole[0]
        nearest = _rows(present, lambda ids: _nearest(rpc, collection, ids))
    found = [
        flushed.reason if flushed.error_code else "",
        truth.loss(present),
        _unlike(truth, present, stored),
        f"{counted} rows are counted, {len(present)} are there" if counted != len(present) else "",
        f"the lists of the segments differ: {_some(listed - Counter(present))} too many, "
        f"{_some(Counter(present) - listed)} too few"
        if listed != Counter(present)
        else "",
        _not_itself(present, nearest),
    ]
    if client_python is not None:
        with RemoteClient(client_python, address) as client:
            read = _rows(present, lambda ids: _by_client(client, collection, ids))
        found.append(f"the client: {_unlike(truth, present, read)}" if _unlike(truth, present, read) else "")
    return [f"{collection}: {text}" for text in found if text]


def _rows(ids: Sequence[int], read: Callable[[list[int]], Iterator[tuple[int, Any]]]) -> dict[int, Any]:
    """Read rows in batches."""
    batches = [list(ids[first : first + _BATCH]) for first in range(0, len(ids), _BATCH)]
    return {number: value for batch in batches for number, value in read(batch)}


def _by_id(rpc: Rpc, collection: str, ids: list[int]) -> Iterator[tuple[int, Any]]:
    reply = rpc.call("GetVectorsByID", timeout_s=_TIMEOUT_S, collection_name=collection, id_array=ids)
    assert not reply.status.error_code, reply.status
    for number, record in zip(ids, reply.vectors_data, strict=True):
        if record.float_data:
            yield number, np.array(record.float_data, np.float32)


def _by_client(client: RemoteClient, collection: str, ids: list[int]) -> Iterator[tuple[int, Any]]:
    reply = client.call("get_entity_by_id", collection_name=collection, ids=ids)
    assert reply.ok, reply
    for number, values in zip(ids, reply.value, strict=True):
        yield number, np.array(values, np.float32)


def _nearest(rpc: Rpc, collection: str, ids: list[int]) -> Iterator[tuple[int, Any]]:
    extra = params(_STRONG)
    asked = {"collection_name": collection, "id_array": ids, "topk": 1, "extra_params": extra}
    reply = rpc.call("SearchByID", timeout_s=_TIMEOUT_S, **asked)
    assert not reply.status.error_code, reply.status
    yield from zip(ids, zip(reply.ids, reply.distances, strict=True), strict=True)


def _listed(rpc: Rpc, collection: str) -> Counter[int] | None:
    """The ids in the segments; nothing when one was merged in the middle of the listing."""
    info = json.loads(rpc.call("ShowCollectionInfo", timeout_s=_TIMEOUT_S, collection_name=collection).json_info)
    found: Counter[int] = Counter()
    for partition in info["partitions"]:
        for segment in partition["segments"] or []:
            reply = rpc.call("GetVectorIDs", collection_name=collection, segment_name=segment["name"])
            if reply.status.error_code:
                return None
            found.update(reply.vector_id_array)
    return found


def _unlike(truth: Truth, present: Sequence[int], read: dict[int, Any]) -> str:
    sent = truth.vectors(present)
    other = [
        number
        for row, number in enumerate(present)
        if number not in read or not np.array_equal(read[number], sent[row])
    ]
    return f"{len(other)} rows are other than they were sent: {_some(other)}" if other else ""


def _not_itself(present: Sequence[int], nearest: dict[int, tuple[int, float]]) -> str:
    other = [number for number in present if nearest[number][0] != number or nearest[number][1] > 1e-5]
    return f"{len(other)} rows are not the nearest to themselves: {_some(other)}" if other else ""


def _some(ids: Any) -> list[int]:
    return sorted(ids)[:5]
