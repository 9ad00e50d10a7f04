"""gRPC statuses and the project's errors, in both directions; what every transport says alike. Pure."""

from __future__ import annotations

from typing import Final

from mishards.errors import (
    MishardsError,
    NodeFault,
    NodeOverloaded,
    NodeRejected,
    NodeTimeout,
    NodeUnavailable,
    RpcStatus,
)

_VERDICTS: Final = frozenset(
    {
        RpcStatus.INVALID_ARGUMENT,
        RpcStatus.NOT_FOUND,
        RpcStatus.ALREADY_EXISTS,
        RpcStatus.PERMISSION_DENIED,
        RpcStatus.FAILED_PRECONDITION,
        RpcStatus.OUT_OF_RANGE,
        RpcStatus.UNIMPLEMENTED,
        RpcStatus.UNAUTHENTICATED,
        RpcStatus.UNKNOWN,
    }
)
"""Statuses that condemn the request rather than the node."""


def status_of(error: MishardsError) -> tuple[RpcStatus, str]:
    """The status and the details with which a handler's error ends a call."""
    if isinstance(error, NodeRejected):
        return error.status, error.details
    return error.rpc_status or RpcStatus.UNKNOWN, str(error)


def error_of(address: str, status: RpcStatus, details: str, *, sent: bool = True) -> MishardsError:
    """The error for a status other than OK with which the node at ``address`` ended a call."""
    if status is RpcStatus.UNAVAILABLE:
        return NodeUnavailable(address, details, sent=sent)
    if status is RpcStatus.DEADLINE_EXCEEDED:
        return NodeTimeout(address, "the deadline passed before it answered")
    if status is RpcStatus.RESOURCE_EXHAUSTED:
        return NodeOverloaded(address, details)
    if status in _VERDICTS:
        return NodeRejected(address, details, status)
    return NodeFault(address, f"{status.name}: {details}")
