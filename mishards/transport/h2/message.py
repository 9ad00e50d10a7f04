"""One incoming gRPC message, put together from pieces of DATA (5 bytes of prefix, then the message).

Pure. A large message is copied once, when it is whole; small fragments are gathered as they come, so that a peer that
sends byte by byte costs no more memory than the message.
"""

from __future__ import annotations

import zlib
from struct import Struct
from typing import Final

from mishards.errors import MishardsError, RpcStatus

PREFIX: Final = Struct(">BI")
"""Compressed flag and length."""

_FRAGMENT: Final = 4096
"""A piece up to this size is copied at once."""

_WINDOW_BITS: Final = {b"gzip": 31, b"deflate": 15}


class MessageFault(MishardsError):
    """A message that cannot be taken; the call ends with ``status``. Never leaves the transport."""

    def __init__(self, status: RpcStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Message:
    """Collects the one message of a stream; ``body`` is None until it is whole."""

    __slots__ = ("_head", "_parts", "body", "compressed", "expected", "got")

    def __init__(self) -> None:
        self.body: bytes | None = None
        self.compressed = False
        self.expected = -1
        """Bytes of the message without its prefix; -1 until that is known."""
        self.got = 0
        self._head = b""
        self._parts: list[memoryview | bytearray] | None = None

    @property
    def missing(self) -> int:
        """Bytes still to come; 0 while the length is not known."""
        return self.expected - self.got if self.expected > 0 else 0

    def take(self, data: bytes, span: tuple[int, int], max_bytes: int) -> None:
        """Add ``data[span[0]:span[1]]``; ``max_bytes`` of -1 is no limit.

        Raises:
            MessageFault: the message is larger than that, or there is more than one.
        """
        start, stop = span
        if self.expected < 0:
            if self._head or stop - start < PREFIX.size:
                data, start, stop = self._with_head(data, start, stop)
                if stop - start < PREFIX.size:
                    return
            flag, size = PREFIX.unpack_from(data, start)
            start += PREFIX.size
            self._begin(flag, size, max_bytes)
            if stop - start == size:
                self.body = data[start:stop]
                self.got = size
                return
        if start == stop:
            return
        if self.got + stop - start > self.expected:
            raise MessageFault(RpcStatus.INTERNAL, "more than one message in a unary call")
        self._add(data, start, stop)

    def _with_head(self, data: bytes, start: int, stop: int) -> tuple[bytes, int, int]:
        """Join the pieces while they are shorter than a prefix."""
        joined = self._head + data[start:stop]
        self._head = joined if len(joined) < PREFIX.size else b""
        return joined, 0, len(joined)

    def _begin(self, flag: int, size: int, max_bytes: int) -> None:
        if 0 <= max_bytes < size:
            raise MessageFault(
                RpcStatus.RESOURCE_EXHAUSTED, f"a message of {size} bytes is larger than the limit of {max_bytes}"
            )
        if flag > 1:
            raise MessageFault(RpcStatus.INTERNAL, f"the compressed flag is {flag}")
        self.compressed = bool(flag)
        self.expected = size

    def _add(self, data: bytes, start: int, stop: int) -> None:
        parts = self._parts
        if parts is None:
            parts = self._parts = []
        if stop - start > _FRAGMENT:
            parts.append(memoryview(data)[start:stop])
        elif parts and isinstance(parts[-1], bytearray):
            parts[-1] += data[start:stop]
        else:
            parts.append(bytearray(data[start:stop]))
        self.got += stop - start
        if self.got == self.expected:
            self.body = b"".join(parts)
            self._parts = None


def inflated(body: bytes, encoding: bytes, max_bytes: int) -> bytes:
    """A message that was sent with the compressed flag, as it was before; ``max_bytes`` bounds it.

    Raises:
        MessageFault: an encoding that is not known, bytes that are not of it, or too many of them.
    """
    bits = _WINDOW_BITS.get(encoding)
    if bits is None:
        if encoding == b"identity":
            raise MessageFault(RpcStatus.INTERNAL, "a compressed message without grpc-encoding")
        text = encoding.decode("latin-1")
        raise MessageFault(RpcStatus.UNIMPLEMENTED, f"grpc-encoding {text} is not known; gzip and deflate are")
    decoder = zlib.decompressobj(bits)
    try:
        plain = decoder.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise MessageFault(RpcStatus.INTERNAL, f"a compressed message is broken: {error}") from error
    if len(plain) > max_bytes:
        raise MessageFault(
            RpcStatus.RESOURCE_EXHAUSTED, f"a message inflates to more than the limit of {max_bytes} bytes"
        )
    if not decoder.eof:
        raise MessageFault(RpcStatus.INTERNAL, "a compressed message is cut short")
    return plain
