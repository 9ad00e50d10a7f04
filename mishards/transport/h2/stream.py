"""One call on one connection, as both ends see it: windows, the message that comes, the message that goes."""

from __future__ import annotations

from mishards.transport.h2.message import Message


class Stream:
    """State of a stream. Belongs to its connection."""

    __slots__ = (
        "deadline_key",
        "ended",
        "id",
        "large",
        "message",
        "outgoing",
        "prefix",
        "queued",
        "receive_window",
        "received",
        "send_window",
        "trailer",
    )

    def __init__(self, stream_id: int, send_window: int, receive_window: int) -> None:
        self.id = stream_id
        self.send_window = send_window
        self.receive_window = receive_window
        self.message = Message()
        self.received = 0
        """Bytes of DATA without padding."""
        self.ended = False
        """Has the peer said all it will say?"""
        self.large = False
        """Has its message asked for more than the stream's first window?"""
        self.outgoing: memoryview | None = None
        """What of the message is still to be sent."""
        self.prefix = b""
        """Of the message, as far as it is still to be sent."""
        self.trailer = b""
        """Frames after the message; when empty, the message's last frame ends the stream."""
        self.queued = False
        self.deadline_key: float | None = None
