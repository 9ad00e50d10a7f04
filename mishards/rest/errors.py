"""What is wrong with a request, as HTTP says it: a status and ``{"message": …, "code": …}``.

The protocol knows two statuses of failure: 404 where something does not exist, 400 otherwise. Where a call over gRPC
would end with a gRPC status instead of a reply, HTTP has statuses of its own; clients read code and message alike.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from http import HTTPStatus

from mishards.errors import Code, MishardsError, NodeRejected, RequestError, RpcStatus


class RestCode(enum.IntEnum):
    """Codes that exist over HTTP only; 0 to 24 are those of ``mishards.errors.Code``."""

    PATH_PARAM_LOSS = 31
    UNKNOWN_PATH = 32
    QUERY_PARAM_LOSS = 33
    BODY_FIELD_LOSS = 34
    ILLEGAL_BODY = 35
    BODY_PARSE_FAIL = 36
    ILLEGAL_QUERY_PARAM = 37
    NOT_ALLOWED = 38


class BadHttpRequest(RequestError):
    """A request that cannot be turned into a call."""

    def __init__(self, rest_code: RestCode, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.rest_code = rest_code
        self.status = status


def illegal(message: str) -> BadHttpRequest:
    """The error of a body that is JSON, but not what it should be."""
    return BadHttpRequest(RestCode.ILLEGAL_BODY, message)


class ErrorReply(MishardsError):
    """The reply of a call carries an error; ``reply_code`` and the message are the handler's."""

    def __init__(self, reply_code: int, reason: str) -> None:
        super().__init__(reason)
        self.reply_code = int(reply_code)


_NOT_FOUND = (Code.COLLECTION_NOT_EXISTS, Code.FILE_NOT_FOUND)

_STATUSES: Mapping[RpcStatus, HTTPStatus] = {
    RpcStatus.UNKNOWN: HTTPStatus.BAD_REQUEST,  # the protocol's status of parameters that are not JSON
    RpcStatus.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    RpcStatus.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    RpcStatus.FAILED_PRECONDITION: HTTPStatus.SERVICE_UNAVAILABLE,  # a writable node that does not lead
    RpcStatus.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    RpcStatus.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    RpcStatus.NOT_FOUND: HTTPStatus.NOT_FOUND,
    RpcStatus.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    RpcStatus.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    RpcStatus.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    RpcStatus.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    RpcStatus.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}


def refusal(error: MishardsError) -> tuple[HTTPStatus, int, str]:
    """Return status, code and message of the answer that tells a client of ``error``."""
    if isinstance(error, BadHttpRequest):
        return error.status, int(error.rest_code), str(error)
    if isinstance(error, NodeRejected):
        return _of_rpc(error.status), int(Code.UNEXPECTED_ERROR), error.details
    if error.rpc_status is not None:
        return _of_rpc(error.rpc_status), int(error.code), str(error)
    code = error.reply_code if isinstance(error, ErrorReply) else int(error.code)
    return HTTPStatus.NOT_FOUND if code in _NOT_FOUND else HTTPStatus.BAD_REQUEST, code, str(error)


def _of_rpc(status: RpcStatus) -> HTTPStatus:
    return _STATUSES.get(status, HTTPStatus.INTERNAL_SERVER_ERROR)
