"""The closed tree of errors.

Every error has a wire ``code`` (the ``ErrorCode`` of the Milvus 1.x protocol), a ``retryable`` answer, and,
where it must leave as a gRPC status instead of a ``Status`` message, an ``rpc_status``. Nothing in the
project decides by matching a message of its own; the texts are for people (and, where the protocol
fixes them, for compatibility). The module knows no protobuf and no transport.
"""

from __future__ import annotations

import enum
from typing import ClassVar


class Code(enum.IntEnum):
    """``ErrorCode`` of ``status.proto``; 6 does not exist on the wire."""

    SUCCESS = 0
    UNEXPECTED_ERROR = 1
    CONNECT_FAILED = 2
    PERMISSION_DENIED = 3
    COLLECTION_NOT_EXISTS = 4
    ILLEGAL_ARGUMENT = 5
    ILLEGAL_DIMENSION = 7
    ILLEGAL_INDEX_TYPE = 8
    ILLEGAL_COLLECTION_NAME = 9
    ILLEGAL_TOPK = 10
    ILLEGAL_ROWRECORD = 11
    ILLEGAL_VECTOR_ID = 12
    ILLEGAL_SEARCH_RESULT = 13
    FILE_NOT_FOUND = 14
    META_FAILED = 15
    CACHE_FAILED = 16
    CANNOT_CREATE_FOLDER = 17
    CANNOT_CREATE_FILE = 18
    CANNOT_DELETE_FOLDER = 19
    CANNOT_DELETE_FILE = 20
    BUILD_INDEX_ERROR = 21
    ILLEGAL_NLIST = 22
    ILLEGAL_METRIC_TYPE = 23
    OUT_OF_MEMORY = 24


class RpcStatus(enum.IntEnum):
    """The gRPC status codes (https://grpc.io/docs/guides/status-codes/)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class MishardsError(Exception):
    """Root of all errors this project raises on purpose.

    ``code`` goes into the reply's ``Status``. Where ``rpc_status`` is not None the call ends with that gRPC
    status instead. ``retryable`` answers: may the same call succeed, unchanged, later or at another node?
    """

    code: ClassVar[Code] = Code.UNEXPECTED_ERROR
    retryable: ClassVar[bool] = False
    rpc_status: ClassVar[RpcStatus | None] = None


# --- what a client asked for is not possible -------------------------------------------------------------


class RequestError(MishardsError):
    """The request itself is at fault; repeating it cannot help. The message is the protocol's text."""


class IllegalArgument(RequestError):
    """A parameter is missing, malformed or out of range."""

    code = Code.ILLEGAL_ARGUMENT


class IllegalDimension(RequestError):
    """A dimension, or the length of a vector, that does not fit."""

    code = Code.ILLEGAL_DIMENSION


class IllegalIndexType(RequestError):
    """An index type that does not exist or does not fit the metric."""

    code = Code.ILLEGAL_INDEX_TYPE


class IllegalCollectionName(RequestError):
    """A collection name that is malformed or reserved."""

    code = Code.ILLEGAL_COLLECTION_NAME


class IllegalTopK(RequestError):
    """A ``topk`` outside its limits."""

    code = Code.ILLEGAL_TOPK

    def __init__(self, topk: int, maximum: int) -> None:
        super().__init__(f"Invalid topk: {topk}. The topk must be within the range of 1 ~ {maximum}.")


class IllegalRows(RequestError):
    """Rows that are missing, too many bytes, or of the wrong kind."""

    code = Code.ILLEGAL_ROWRECORD


class IllegalIds(RequestError):
    """Ids that do not fit the rows or the id mode of the collection."""

    code = Code.ILLEGAL_VECTOR_ID


class IllegalMetric(RequestError):
    """A metric type that does not exist."""

    code = Code.ILLEGAL_METRIC_TYPE


class CollectionNotFound(RequestError):
    """No collection of that name."""

    code = Code.COLLECTION_NOT_EXISTS

    def __init__(self, name: str) -> None:
        super().__init__(not_found_text(name))


class CollectionExists(RequestError):
    """The name is taken."""

    code = Code.ILLEGAL_COLLECTION_NAME

    def __init__(self) -> None:
        super().__init__("Collection already exists")


class PartitionError(RequestError):
    """A partition tag that is malformed, unknown or taken; the protocol gives all of them code 1."""


class SegmentNotFound(RequestError):
    """``GetVectorIDs`` named a segment that does not exist or belongs to another collection."""


class InvalidFileId(RequestError):
    """``SearchInFiles`` named no file that can be searched; routers read it as stale routing."""


class TooFewRows(RequestError):
    """``SearchByID`` found fewer rows than topk, which the protocol refuses where ``Search`` pads."""

    def __init__(self) -> None:
        super().__init__("result doesn't match id count")  # the protocol's


class CommandError(RequestError):
    """A ``Cmd`` text or a configuration key that does not exist."""


class BuildFailed(MishardsError):
    """An index could not be built; the message collects what the builds said."""


class MalformedRequest(RequestError):
    """The bytes are no request: truncated protobuf, or JSON that does not parse."""

    rpc_status = RpcStatus.INVALID_ARGUMENT


class MalformedParams(RequestError):
    """``extra_params`` is not JSON; the protocol lets this escape as a gRPC status UNKNOWN."""

    rpc_status = RpcStatus.UNKNOWN


class UnknownMethod(RequestError):
    """An RPC that this server does not serve."""

    rpc_status = RpcStatus.UNIMPLEMENTED

    def __init__(self, method: str) -> None:
        super().__init__(f"method {method} is not implemented")


class WriteRefused(RequestError):
    """A read-only node was asked to write."""

    code = Code.PERMISSION_DENIED

    def __init__(self, method: str) -> None:
        super().__init__(f"{method} is refused: this node is read-only; send writes to the writable node or a router")


class Unauthenticated(RequestError):
    """Nobody knows who calls, and what is asked is not for everybody."""

    code = Code.PERMISSION_DENIED
    rpc_status = RpcStatus.UNAUTHENTICATED


class Forbidden(RequestError):
    """The caller is known, and their role does not allow it."""

    code = Code.PERMISSION_DENIED
    rpc_status = RpcStatus.PERMISSION_DENIED


# --- limits of this process ------------------------------------------------------------------------------


class Overloaded(MishardsError):
    """Admission refused the call; nothing was done."""

    retryable = True
    rpc_status = RpcStatus.RESOURCE_EXHAUSTED


class DeadlineExceeded(MishardsError):
    """Time ran out; what the call would have changed may or may not have happened."""

    retryable = False
    rpc_status = RpcStatus.DEADLINE_EXCEEDED


class ShuttingDown(MishardsError):
    """The process is stopping; a new call belongs elsewhere."""

    retryable = True

    def __init__(self) -> None:
        super().__init__("Milvus server is shutdown!")


# --- the catalog -----------------------------------------------------------------------------------------


class CatalogError(MishardsError):
    """The metadata database."""

    code = Code.META_FAILED


class CatalogUnavailable(CatalogError):
    """The database cannot be reached or did not answer in time."""

    retryable = True


class CatalogConflict(CatalogError):
    """A row is no longer in the state a transaction expected; nothing was changed."""

    retryable = True


class Fenced(CatalogError):
    """A writer of a higher epoch has taken the catalog over; nothing was changed, and never will be by this one."""

    retryable = True


class CatalogSchemaMismatch(CatalogError):
    """A table of the Milvus 1.x schema lacks a column."""


# --- other processes -------------------------------------------------------------------------------------


class NodeError(MishardsError):
    """A call to a node failed. ``sent`` answers: may the node have received the request?"""

    code = Code.CONNECT_FAILED

    def __init__(self, address: str, message: str, *, sent: bool = True) -> None:
        super().__init__(f"node {address}: {message}")
        self.address = address
        self.sent = sent


class NodeUnavailable(NodeError):
    """No connection, or it broke."""

    retryable = True


class NodeTimeout(NodeError):
    """The deadline passed before the node answered."""

    retryable = True
    rpc_status = RpcStatus.DEADLINE_EXCEEDED


class NodeOverloaded(NodeError):
    """The node's admission refused the call."""

    retryable = True
    rpc_status = RpcStatus.RESOURCE_EXHAUSTED


class NodeFault(NodeError):
    """The node answered with a gRPC status that says it is broken; another node may answer."""

    retryable = True


class NodeRejected(NodeError):
    """The node answered a gRPC status that condemns the request; ``status`` is handed to the client unchanged."""

    rpc_status = RpcStatus.UNKNOWN

    def __init__(self, address: str, message: str, status: RpcStatus) -> None:
        super().__init__(address, message)
        self.details = message
        self.status = status


class MalformedReply(MishardsError):
    """The bytes that a node answered are not the reply they should be; another node may answer."""

    code = Code.ILLEGAL_SEARCH_RESULT
    retryable = True


class ClusterError(MishardsError):
    """The cluster as a whole cannot serve the call now."""

    retryable = True


class NoWritableNode(ClusterError):
    """Discovery knows no writable node."""

    rpc_status = RpcStatus.UNAVAILABLE


class NotLeader(ClusterError):
    """This writable node does not lead now; nothing was done. Routers know it by its status, and ask another node."""

    rpc_status = RpcStatus.FAILED_PRECONDITION


class LeadershipLost(ClusterError):
    """The node's lease ended during the call; what it would have changed may or may not have happened."""

    retryable = False


class NoSearchNode(ClusterError):
    """No living node can search a segment."""

    rpc_status = RpcStatus.UNAVAILABLE


class DiscoveryError(MishardsError):
    """The discovery backend."""

    retryable = True


class ElectionError(MishardsError):
    """The election backend."""

    retryable = True


class BadNodeRecord(DiscoveryError):
    """An entry in discovery that is no node; it is left out."""

    retryable = False


# --- starting up -----------------------------------------------------------------------------------------


class PluginError(MishardsError):
    """A plugin that is unknown, not installed, or given wrong options."""


class ConfigError(MishardsError):
    """A setting that cannot be used; the message names key, value, expectation and source."""


class StartError(MishardsError):
    """The process cannot start here: port in use, folder not writable, lock held."""


class ProcessFailed(StartError):
    """A process of an embedded cluster did not become ready; ``output`` is what it said last, lines of text."""

    def __init__(self, name: str, what: str, output: str) -> None:
        super().__init__(f"{name} {what}")
        self.name = name
        self.output = output


class SampleFailed(MishardsError):
    """The sample of an embedded cluster cannot be loaded or shown."""


# --- bulk data -------------------------------------------------------------------------------------------


class BulkError(MishardsError):
    """An import, an export, a backup or a restore cannot begin or go on."""


class SourceError(BulkError):
    """A file that cannot be read as what it should be, or has a row that cannot be used."""


class ResumeError(BulkError):
    """What was recorded about earlier work does not fit what is to be done now."""


class DamagedBackup(BulkError):
    """A backup that is not whole: a part is missing or its checksum is another."""


class ServerRefused(BulkError):
    """A server answered that it will not; ``refusal`` is its code."""

    def __init__(self, reason: str, refusal: int = Code.UNEXPECTED_ERROR) -> None:
        super().__init__(reason)
        self.refusal = refusal


def not_found_text(name: str) -> str:
    """The protocol's text for an unknown collection."""
    return (
        f"Collection {name} does not exist. Use milvus.has_collection to verify whether the collection exists. "
        "You also can check whether the collection name exists."
    )
