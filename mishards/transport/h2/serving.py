"""The server's end of a connection: its beginning, the streams that clients open, and its graceful end.

Belongs to one event loop.
"""

from __future__ import annotations

from typing import Final

from mishards.errors import RpcStatus
from mishards.security.tls import names_of
from mishards.transport.h2 import frames
from mishards.transport.h2.frames import MAX_STREAM_ID, PREFACE, ConnectionFault, ErrorCode, Setting
from mishards.transport.h2.grpc_fields import Answer, parsed_request, request_by_last
from mishards.transport.h2.handling import Handling, ServedStream, Service
from mishards.transport.h2.headers import HeaderDecoder
from mishards.transport.h2.sockets import peer_name

_DRAIN_PING: Final = b"draining"
_DRAIN_ANSWER_S: Final = 1.0
"""For the answer to the ping after the first GOAWAY; without it the second one follows then."""
_HTTP1: Final = b"HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class ServedConnection(Handling):
    """One client."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._heads = HeaderDecoder(parsed_request, service.options.max_header_bytes, request_by_last)
        self._preface: bytes | None = b""  # what came of it; None once it is whole
        self._newest = 0
        self._draining = self._refusing = False

    # --- the connection ---

    def opened(self) -> None:
        self.peer = peer_name(self.transport)
        if self.transport is not None:
            self.peer_names = names_of(self.transport.get_extra_info("peercert"))
        if self.service.stopping:
            self.abort("the server is stopping")
            return
        self.service.connections.add(self)
        self.after(self.options.preface_timeout_s, "preface", lambda: self.abort("it did not begin to speak"))

    def take(self, data: bytes) -> None:
        if self._preface is not None:
            data = self._preface + data
            if not PREFACE.startswith(data[: len(PREFACE)]):
                self._refuse_protocol(data)
                return
            if len(data) < len(PREFACE):
                self._preface = data
                return
            self._preface = None
            data = data[len(PREFACE) :]
            self.outbox.write(self.greet({Setting.MAX_CONCURRENT_STREAMS: self.options.max_streams}))
        super().take(data)

    def _refuse_protocol(self, data: bytes) -> None:
        if b" HTTP/1." not in data[:1024].partition(b"\r\n")[0]:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "not the preface of HTTP/2")
        self.outbox.write(_HTTP1)
        self.part("it speaks HTTP/1")

    def settings_changed(self, values: dict[int, int]) -> None:
        self.call_off("preface")

    def last_peer_stream(self) -> int:
        return self._newest

    def is_idle(self, stream_id: int) -> bool:
        return stream_id > self._newest or not stream_id & 1

    def all_broken(self, reason: str) -> None:
        streams = list(self.streams.values())
        self.streams.clear()
        for stream in streams:
            self.cancel(stream)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.service.connections.discard(self)

    # --- draining ---

    def drain(self) -> None:
        """Take no new calls; close once those under way have ended."""
        if not self._draining and not self.closed:
            self._draining = True
            self.outbox.write(frames.goaway(MAX_STREAM_ID, ErrorCode.NO_ERROR), frames.ping(_DRAIN_PING, ack=False))
            self.after(_DRAIN_ANSWER_S, "drain", self._refuse_calls)

    def ping_answered(self, opaque: bytes) -> None:
        if self._draining and opaque == _DRAIN_PING:
            self._refuse_calls()

    def _refuse_calls(self) -> None:
        self.call_off("drain")
        if not self._refusing:
            self._refusing = True
            self.outbox.write(frames.goaway(self._newest, ErrorCode.NO_ERROR))
            self.stream_over()

    def stream_over(self) -> None:
        if self._refusing and not self.streams and not self.closed:
            self.part("it was drained")

    def cut(self) -> None:
        """End what is under way, and close."""
        if self.closed:
            return
        self._refusing = True
        self.outbox.write(frames.goaway(self._newest, ErrorCode.NO_ERROR))
        for stream in list(self.streams.values()):
            self.end(stream, Answer(status=RpcStatus.UNAVAILABLE, message="the server is stopping"))
        self.part("the server is stopping")

    # --- requests ---

    def headers_arrived(self, stream_id: int, block: bytes, ended: bool) -> None:
        if not self.greeted:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        head = self._heads.decode(block)
        if stream_id <= self._newest:
            self._trailers_arrived(stream_id, ended)
            return
        if not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"a client opened stream {stream_id}")
        if self._refusing:
            return
        self._newest = stream_id
        if len(self.streams) >= self.options.max_streams or self.running >= self.options.max_streams:
            self.nuisance()
            self.send_reset(stream_id, ErrorCode.REFUSED_STREAM)
            return
        stream = self.streams[stream_id] = ServedStream(self, stream_id, head)
        stream.ended = ended
        if head.malformed:
            self.reset(stream, ErrorCode.PROTOCOL_ERROR)
        elif head.answer is not None:
            self.answer(stream, head.answer)
        elif ended:
            self.stream_ended(stream)
        elif head.timeout_s is not None:
            self.watch(stream, head.timeout_s)

    def _trailers_arrived(self, stream_id: int, ended: bool) -> None:
        stream = self.streams.get(stream_id)
        if stream is None:
            self.nuisance()
        elif stream.ended or not ended:
            self.reset(stream, ErrorCode.PROTOCOL_ERROR)
        else:
            stream.ended = True
            self.stream_ended(stream)
