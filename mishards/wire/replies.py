"""The methods of the protocol, and the ``Status`` that every reply carries.

Every reply either is a ``Status`` or has one as its field 1. The module reads and writes just that; what else a reply
holds belongs to the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from mishards.errors import Code, MalformedReply, MishardsError
from mishards.wire.protos import milvus_pb2
from mishards.wire.protos.status_pb2 import Status
from mishards.wire.scan import LENGTH_DELIMITED, Truncated, runs, varint_bytes

SUCCESS_REASON: Final = "OK"
"""The reason of every successful reply."""

_STATUS_TAG: Final = b"\x0a"  # field 1, length-delimited
_OK = b"\x12\x02OK"  # the status of success as every encoder writes it: code 0 is not sent
OK_FIELD: Final = _STATUS_TAG + bytes([len(_OK)]) + _OK
"""The status of success as field 1 of a reply."""


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC: its bare name and the classes of its messages."""

    name: str
    request: type[Message]
    reply: type[Message]

    @property
    def replies_status(self) -> bool:
        """Is the reply a bare ``Status``, not a message that holds one?"""
        return self.reply is Status


def _methods() -> dict[str, Method]:
    service = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"]
    return {
        method.name: Method(method.name, GetMessageClass(method.input_type), GetMessageClass(method.output_type))
        for method in service.methods
    }


METHODS: Final[Mapping[str, Method]] = MappingProxyType(_methods())
"""Every RPC of the service, by its bare name."""


def ok_status() -> Status:
    """The status of success."""
    return Status(error_code=Code.SUCCESS.value, reason=SUCCESS_REASON)  # type: ignore[arg-type]  # stub wants its enum


def error_status(error: MishardsError) -> Status:
    """The status that tells a client of ``error``."""
    reason = str(error).encode("utf-8", "replace").decode()  # a lone surrogate cannot travel
    return Status(error_code=error.code.value, reason=reason)  # type: ignore[arg-type]  # the stub wants its own enum


def error_reply(method: str, error: MishardsError) -> bytes:
    """Encode the reply of ``method`` that carries nothing but the status of ``error``."""
    status = error_status(error).SerializeToString()
    return status if METHODS[method].replies_status else _STATUS_TAG + varint_bytes(len(status)) + status


def is_success(reply: bytes) -> bool:
    """Does a reply that holds a status say success, in the bytes that encoders write? Else see ``status_of``."""
    return reply.startswith(OK_FIELD) and not reply.startswith(_STATUS_TAG, len(OK_FIELD))


def status_of(method: str, reply: bytes) -> tuple[Code | int, str]:
    """Read code and reason of an encoded reply without parsing the rest of it.

    A reply without a status is a success, as protobuf has it. Encoders write fields by number, so reading ends at
    the first field that follows the status. A code that this project does not know stays a plain int.

    Raises:
        MalformedReply: the bytes up to there are no protobuf message.
    """
    if is_success(reply):
        return Code.SUCCESS, SUCCESS_REASON
    try:
        status = Status.FromString(reply if METHODS[method].replies_status else _status_bytes(reply))
    except (DecodeError, Truncated) as error:
        raise MalformedReply(f"reply of {method}, {len(reply)} bytes, is no protobuf message: {error}") from error
    code = int(status.error_code)
    return (Code(code) if code in _CODES else code), status.reason


_CODES: Final = frozenset(Code)


def _status_bytes(reply: bytes) -> bytes:
    found: list[bytes] = []
    for run in runs(reply, 0, len(reply)):
        if run.number == 1 and run.wire_type == LENGTH_DELIMITED:
            found += (reply[at : at + run.size] for at in run.starts())
        elif found:
            break
    return b"".join(found)
