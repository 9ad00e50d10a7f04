"""What became of a call, as an error of the seam: by HTTP statuses, RST_STREAM codes and broken replies.

Pure. By "gRPC over HTTP2" (doc/PROTOCOL-HTTP2.md) and "HTTP to gRPC status code mapping" of the gRPC project, with one
difference: where these say UNKNOWN because no gRPC server has said anything, the node is at fault, not the request.
"""

from __future__ import annotations

from typing import Final

from mishards.errors import MishardsError, NodeFault, RpcStatus
from mishards.transport.h2.frames import ErrorCode
from mishards.transport.h2.grpc_fields import ReplyHead
from mishards.transport.status import error_of

_OK: Final = int(RpcStatus.OK)

_OF_HTTP: Final = {
    400: RpcStatus.INTERNAL,
    401: RpcStatus.UNAUTHENTICATED,
    403: RpcStatus.PERMISSION_DENIED,
    404: RpcStatus.UNIMPLEMENTED,
    429: RpcStatus.UNAVAILABLE,
    502: RpcStatus.UNAVAILABLE,
    503: RpcStatus.UNAVAILABLE,
    504: RpcStatus.UNAVAILABLE,
}

_OF_RESET: Final = {
    ErrorCode.REFUSED_STREAM: RpcStatus.UNAVAILABLE,
    ErrorCode.CANCEL: RpcStatus.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: RpcStatus.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: RpcStatus.PERMISSION_DENIED,
}


def failure(address: str, head: ReplyHead | None, trailers: ReplyHead | None) -> MishardsError | None:
    """The error that a reply is, by its head and its trailers; None when its status is OK."""
    last = trailers or head
    if last is None or last.malformed or (head is not None and head.malformed):
        return NodeFault(address, "it answered with malformed header fields")
    if last.status == _OK:
        return None
    if last.status > 0:
        known = last.status in RpcStatus.__members__.values()
        return error_of(address, RpcStatus(last.status) if known else RpcStatus.UNKNOWN, last.message)
    http = (head or last).http
    if http != 200:
        status = _OF_HTTP.get(http)
        text = f"it answered with HTTP status {http}"
        return error_of(address, status, text) if status is not None else NodeFault(address, text)
    return NodeFault(address, "it answered without a gRPC status")


def failure_of_reset(address: str, code: int) -> MishardsError:
    """The error for a stream that the peer reset."""
    name = ErrorCode(code).name if code in ErrorCode.__members__.values() else str(code)
    status = _OF_RESET.get(code, RpcStatus.INTERNAL)  # type: ignore[call-overload]  # an int that is none of the enum
    text = f"it reset the call with {name}"
    error: MishardsError = error_of(address, status, text, sent=code != ErrorCode.REFUSED_STREAM)
    return error
