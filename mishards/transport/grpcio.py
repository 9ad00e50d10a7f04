"""The transport on grpcio's asyncio API: raw bytes both ways, no generated stubs.

The only module of the project that imports ``grpc``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import grpc
import grpc.aio

from mishards.deadline import Deadline
from mishards.errors import MishardsError, NodeTimeout, NodeUnavailable, RpcStatus, StartError
from mishards.security.tls import ClientTls, Renewal, ServerTls
from mishards.transport.api import SERVICE, Call, Channel, Handler, Metadata, Server, ServerOptions, answered_by
from mishards.transport.status import error_of, status_of

log = logging.getLogger(__name__)

_PREFIX = f"/{SERVICE}/"

_SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    # Clients ping every 55 s during calls that last minutes; grpc's defaults would cut them off as abusive.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_send_message_length", -1),
)

_CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class GrpcioTransport:
    """Servers and channels on grpcio."""

    def __init__(self, server_tls: ServerTls | None = None, client_tls: ClientTls | None = None) -> None:
        """Servers and channels speak TLS where it is given."""
        self._server_tls = server_tls
        self._client_tls = client_tls

    def server(self, handler: Handler, options: ServerOptions) -> Server:
        """A server that is not listening yet."""
        return _GrpcioServer(handler, options, self._server_tls)

    def channel(self, address: str) -> Channel:
        """A channel that has not connected yet. Raises StartError where the files of TLS cannot be used."""
        return _GrpcioChannel(address, self._client_tls)


class _Methods(grpc.GenericRpcHandler):
    """Hands every method of the service to one handler."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def service(self, handler_call_details: Any) -> Any:
        path: str = handler_call_details.method
        if not path.startswith(_PREFIX):
            return None
        return grpc.unary_unary_rpc_method_handler(_behaviour(path[len(_PREFIX) :], self._handler))


def _behaviour(method: str, handler: Handler) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def answer(request: bytes, context: Any) -> bytes:
        remaining = context.time_remaining()
        call = Call(
            method=method,
            request=request,
            metadata=tuple((k, v) for k, v in context.invocation_metadata() or () if isinstance(v, str)),
            deadline=Deadline.never() if remaining is None else Deadline.after(remaining),
            peer=context.peer(),
            peer_names=_names(context.auth_context()),
        )
        try:
            reply = await answered_by(handler, call)
        except MishardsError as error:
            status, details = status_of(error)
            if call.reply_metadata:
                await context.send_initial_metadata(tuple(call.reply_metadata))
            await context.abort(_CODES[status], details)
            raise  # abort has raised already; this tells the type checker so
        if call.reply_metadata:
            await context.send_initial_metadata(tuple(call.reply_metadata))
        return reply

    return answer


_NAMES = ("x509_common_name", "x509_subject_alternative_name")


def _names(properties: Mapping[str, Sequence[bytes]]) -> tuple[str, ...]:
    """The names in the certificate of a connection's client; without TLS there are no properties."""
    if not properties:
        return ()
    return tuple(dict.fromkeys(value.decode(errors="replace") for key in _NAMES for value in properties.get(key, ())))


def _server_credentials(tls: ServerTls) -> grpc.ServerCredentials:
    """Credentials that are made of the files again when they change. Raises StartError."""
    renewal = Renewal(tls)

    def configuration() -> Any:
        pair = tls.key.read_bytes(), tls.certificate.read_bytes()
        authorities = tls.client_ca.read_bytes() if tls.client_ca else None
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=authorities)

    def renewed() -> Any:
        return configuration() if renewal.due() else None

    return grpc.dynamic_ssl_server_credentials(configuration(), renewed, tls.client_ca is not None)


def _channel_credentials(tls: ClientTls) -> grpc.ChannelCredentials:
    """Raises StartError."""
    Renewal(tls)
    own = [path.read_bytes() if path else None for path in (tls.key, tls.certificate)]
    return grpc.ssl_channel_credentials(tls.ca.read_bytes(), *own)


_CODES: dict[RpcStatus, grpc.StatusCode] = {RpcStatus(code.value[0]): code for code in grpc.StatusCode}


class _GrpcioServer:
    def __init__(self, handler: Handler, options: ServerOptions, tls: ServerTls | None) -> None:
        self._handler = handler
        self._options = options
        self._tls = tls
        self._server: Any = None

    async def start(self) -> str:
        options = self._options
        self._server = grpc.aio.server(
            options=[
                *_SERVER_OPTIONS,
                ("grpc.so_reuseport", int(options.reuse_port)),
                ("grpc.max_receive_message_length", options.max_message_bytes),
            ],
            maximum_concurrent_rpcs=options.max_concurrent_calls or None,
        )
        self._server.add_generic_rpc_handlers((_Methods(self._handler),))
        try:
            port = self._listen(options.address)
        except RuntimeError as error:
            raise StartError(f"cannot listen on {options.address}: the address is in use or not ours") from error
        if port == 0:
            raise StartError(f"cannot listen on {options.address}: the address is in use or not ours")
        await self._server.start()
        if options.address.startswith("unix:"):
            return options.address
        return f"{options.address.rpartition(':')[0]}:{port}"

    def _listen(self, address: str) -> int:
        if self._tls is None:
            port: int = self._server.add_insecure_port(address)
        else:
            port = self._server.add_secure_port(address, _server_credentials(self._tls))
        return port

    async def stop(self, grace_s: float) -> None:
        if self._server is not None:
            await self._server.stop(grace_s)


def _channel(address: str, tls: ClientTls | None) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
    named = [("grpc.ssl_target_name_override", tls.server_name)] if tls.server_name else []
    return grpc.aio.secure_channel(address, _channel_credentials(tls), options=[*_CHANNEL_OPTIONS, *named])


class _GrpcioChannel:
    def __init__(self, address: str, tls: ClientTls | None) -> None:
        self._address = address
        self._channel: Any = _channel(address, tls)
        self._calls: dict[str, Any] = {}

    @property
    def address(self) -> str:
        return self._address

    async def call(self, method: str, request: bytes, *, deadline: Deadline, metadata: Metadata = ()) -> bytes:
        timeout_s = deadline.timeout()
        if timeout_s == 0:  # which grpcio takes for none
            raise NodeTimeout(self._address, "the deadline passed before it was asked", sent=False)
        stub = self._calls.get(method)
        if stub is None:
            stub = self._calls[method] = self._channel.unary_unary(_PREFIX + method)
        try:
            reply: bytes = await stub(request, timeout=timeout_s, metadata=tuple(metadata))
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from error
        except grpc.aio.UsageError as error:
            raise NodeUnavailable(self._address, "the channel is closed", sent=False) from error
        except asyncio.CancelledError:
            if self._closed():
                raise NodeUnavailable(self._address, "the channel was closed during the call") from None
            raise
        return reply

    def _closed(self) -> bool:
        state: grpc.ChannelConnectivity = self._channel.get_state()
        return state is grpc.ChannelConnectivity.SHUTDOWN

    def _translated(self, error: Any) -> MishardsError:
        status, details = RpcStatus(error.code().value[0]), error.details() or ""
        # grpcio says only in this text that the call never left; there is no typed answer.
        return error_of(self._address, status, details, sent="failed to connect" not in details)

    async def close(self) -> None:
        await self._channel.close()
