"""Calls without the client: raw requests in, message objects out, from synchronous tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.replies import METHODS

_UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


class Rpc:
    """A plain gRPC channel to a router or a node."""

    def __init__(self, address: str) -> None:
        """Connect lazily to ``host:port``."""
        self._channel = grpc.insecure_channel(address, options=_UNLIMITED)

    def __enter__(self) -> Rpc:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def raw(
        self, method: str, request: bytes, timeout_s: float = 30, metadata: Sequence[tuple[str, str]] = ()
    ) -> bytes:
        """Send bytes, return bytes; raises grpc.RpcError for a status that is not OK."""
        stub: Any = self._channel.unary_unary(f"/milvus.grpc.MilvusService/{method}")
        reply: bytes = stub(request, timeout=timeout_s, metadata=metadata)
        return reply

    def call(self, method: str, request: Any = None, timeout_s: float = 30, **fields: Any) -> Any:
        """Send a message, or the method's own message made of ``fields``; return the reply message."""
        kind = METHODS[method]
        message = kind.request(**fields) if request is None else request
        return kind.reply.FromString(self.raw(method, message.SerializeToString(), timeout_s))


def records(vectors: NDArray[np.float32]) -> list[pb.RowRecord]:
    """Float vectors as the records of a request."""
    return [pb.RowRecord(float_data=row.tolist()) for row in vectors]


def params(text: str = "{}") -> list[pb.KeyValuePair]:
    """The pair that carries the JSON parameters."""
    return [pb.KeyValuePair(key="params", value=text)]
