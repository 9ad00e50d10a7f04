"""What a call is refused for, in the texts that the real server was seen to use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from harness.milvus1.kinds import Code, Engine, Metric, Refused
from harness.milvus1.metadata import Collection
from harness.milvus1.segments import Rows
from mishards.wire.protos.milvus_pb2 import RowRecord

DEFAULT_TAG = "_default"
_MOST_BYTES = 256 * 2**20
_EMPTY = "The vector array is empty. Make sure you have entered vector records."
_DIMENSION = "The vector dimension must be equal to the collection dimension."

_NLIST = ("nlist", 1, 65_536)
_NPROBE = ("nprobe", 1, 65_536)
_BUILD: dict[Engine, tuple[tuple[str, int, int], ...]] = {
    Engine.IVF_FLAT: (_NLIST,),
    Engine.IVF_SQ8: (_NLIST,),
    Engine.IVF_PQ: (_NLIST, ("m", 1, 2**31)),
    Engine.RNSG: (
        ("search_length", 10, 300),
        ("out_degree", 5, 300),
        ("candidate_pool_size", 50, 1000),
        ("knng", 5, 300),
    ),
    Engine.HNSW: (("M", 4, 64), ("efConstruction", 8, 512)),
    Engine.ANNOY: (("n_trees", 1, 1024),),
}
_SEARCH: dict[Engine, tuple[tuple[str, int, int], ...]] = {
    Engine.IVF_FLAT: (_NPROBE,),
    Engine.BIN_IVF_FLAT: (_NPROBE,),
    Engine.IVF_SQ8: (_NPROBE,),
    Engine.IVF_PQ: (_NPROBE,),
    Engine.RNSG: (("search_length", 10, 300),),
    Engine.ANNOY: (("search_k", -(2**63), 2**63 - 1),),
}


def unknown_collection(name: str) -> str:
    """Return the text for a collection that does not exist."""
    return (
        f"Collection {name} does not exist. Use milvus.has_collection to verify whether the collection exists. "
        "You also can check whether the collection name exists."
    )


def check_name(name: str) -> None:
    """Check the form of a collection's name."""
    problem = ""
    if not name:
        raise Refused(Code.ILLEGAL_COLLECTION_NAME, "Collection name should not be empty.")
    if len(name.encode()) > 255:
        problem = "The length of a collection name must be less than 255 characters."
    elif not re.match(r"[A-Za-z_]", name):
        problem = "The first character of a collection name must be an underscore or letter."
    elif not re.fullmatch(r"[A-Za-z0-9_]+", name):
        problem = "Collection name can only contain numbers, letters, and underscores."
    if problem:
        raise Refused(Code.ILLEGAL_COLLECTION_NAME, f"Invalid collection name: {name}. {problem}")


def trimmed(tag: str) -> str:
    """Return a partition tag without the blanks at its ends."""
    return tag.strip(" \t\r\n")


def checked_tag(tag: str) -> str:
    """Return a trimmed partition tag of good form."""
    tag = trimmed(tag)
    if not tag:
        raise Refused(Code.UNEXPECTED, f"Invalid partition tag: {tag}. Partition tag should not be empty.")
    if len(tag.encode()) > 255:
        raise Refused(Code.UNEXPECTED, f"Invalid partition tag: {tag}. Partition tag exceed max length(255).")
    return tag


def check_schema(dimension: int, index_file_size: int, metric_type: int) -> Metric:
    """Check what a collection is created with, and return its metric."""
    if not 1 <= dimension <= 32_768:
        text = "The collection dimension must be within the range of 1 ~ 32768."
        raise Refused(Code.ILLEGAL_DIMENSION, f"Invalid collection dimension: {dimension}. {text}")
    if not 1 <= index_file_size <= 4096:
        text = "The index file size must be within the range of 1 ~ 4096."
        raise Refused(Code.ILLEGAL_ARGUMENT, f"Invalid index file size: {index_file_size}. {text}")
    if metric_type not in list(Metric):
        text = "Make sure the metric type is in MetricType list."
        raise Refused(Code.ILLEGAL_METRIC_TYPE, f"Invalid index metric type: {metric_type}. {text}")
    metric = Metric(metric_type)
    if metric.is_binary and dimension % 8:
        text = "The collection dimension must be a multiple of 8"
        raise Refused(Code.ILLEGAL_DIMENSION, f"Invalid collection dimension: {dimension}. {text}")
    return metric


def check_topk(topk: int) -> None:
    """Check how many hits are asked for."""
    if not 1 <= topk <= 16_384:
        raise Refused(Code.ILLEGAL_TOPK, f"Invalid topk: {topk}. The topk must be within the range of 1 ~ 16384.")


def check_not_empty(records: Sequence[RowRecord]) -> None:
    """Check that some record has a vector."""
    if not any(record.float_data or record.binary_data for record in records):
        raise Refused(Code.ILLEGAL_ROWRECORD, _EMPTY)


def vectors(records: Sequence[RowRecord], collection: Collection) -> Rows:
    """Return ``uint8[n, bytes of a vector]`` of records that fit the collection; their total length is compared."""
    check_not_empty(records)
    metric = Metric(collection.metric_type)
    if any(record.float_data for record in records):
        flat = np.concatenate([np.array(record.float_data, dtype="<f4") for record in records])
        content, length, fits = flat.tobytes(), len(flat), not metric.is_binary
    else:
        content = b"".join(record.binary_data for record in records)
        length, fits = len(content) * 8, metric.is_binary
    if length % len(records):
        raise Refused(Code.ILLEGAL_ROWRECORD, _DIMENSION)
    if not fits or length != len(records) * collection.dimension:
        raise Refused(Code.ILLEGAL_DIMENSION, _DIMENSION)
    if len(content) > _MOST_BYTES:
        raise Refused(Code.ILLEGAL_ROWRECORD, "The amount of data inserted each time cannot exceed 256 MB")
    return np.frombuffer(content, dtype=np.uint8).reshape(len(records), -1)


def _check_numbers(params: Mapping[str, Any], rules: Iterable[tuple[str, int, int]]) -> None:
    for key, least, most in rules:
        if key not in params:
            raise Refused(Code.ILLEGAL_ARGUMENT, f"Parameter list must contain: {key}")
        value = params[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            kinds = {bool: "boolean", str: "string", type(None): "null", list: "array", dict: "object"}
            text = f"[json.exception.type_error.302] type must be number, but is {kinds[type(value)]}"
            raise Refused(Code.ILLEGAL_ARGUMENT, f"Invalid {key}: {text}")
        if not least <= int(value) <= most:
            text = f"Invalid {key} value: {int(value)}. Valid range is [{least}, {most}]"
            raise Refused(Code.ILLEGAL_ARGUMENT, text)


def check_search_params(collection: Collection, params: Mapping[str, Any], topk: int) -> None:
    """Check the parameters of a search against the collection's index type, whatever its segments are."""
    engine = Engine(collection.engine_type)
    if engine is Engine.HNSW:
        _check_numbers(params, [("ef", topk, 32_768)])
    _check_numbers(params, _SEARCH.get(engine, ()))


def checked_index(collection: Collection, index_type: int, params: Mapping[str, Any]) -> Engine:
    """Return the engine of an index definition; FLAT and IVF_FLAT become binary on a binary collection."""
    if index_type not in list(Engine):
        text = "Make sure the index type is in IndexType list."
        raise Refused(Code.ILLEGAL_INDEX_TYPE, f"Invalid index type: {index_type}. {text}")
    engine = Engine(index_type)
    if engine is Engine.IVF_SQ8H:
        raise Refused(Code.ILLEGAL_INDEX_TYPE, f"Unsupported index type: {index_type}")
    _check_numbers(params, _BUILD.get(engine, ()))
    if engine is Engine.IVF_PQ and collection.dimension % int(params["m"]):
        text = "Invalid collection dimension, dimension can not be divided by m"
        raise Refused(Code.ILLEGAL_DIMENSION, text)
    if not Metric(collection.metric_type).is_binary:
        return engine
    binary = {Engine.FLAT: Engine.BIN_FLAT, Engine.IVF_FLAT: Engine.BIN_IVF_FLAT}
    if engine not in binary:
        raise Refused(Code.ILLEGAL_INDEX_TYPE, "Invalid index type for collection metric type")
    return binary[engine]


def canonical(params: Mapping[str, Any]) -> str:
    """Return parameters as the tables hold them and DescribeIndex returns them."""
    return json.dumps(params, sort_keys=True, separators=(",", ":"))
