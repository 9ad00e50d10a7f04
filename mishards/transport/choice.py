"""From a name in the configuration to a transport; what is not chosen is not imported."""

from __future__ import annotations

from mishards.security.tls import ClientTls, ServerTls, client_context, server_context
from mishards.transport.api import Transport

TRANSPORTS = ("h2", "grpcio")
"""Our own HTTP/2, and grpcio."""

DEFAULT = "h2"


def transport_of(
    name: str = DEFAULT, server_tls: ServerTls | None = None, client_tls: ClientTls | None = None
) -> Transport:
    """The transport of a name in ``TRANSPORTS``; it speaks TLS at the ends for which that is given.

    Raises:
        StartError: files of TLS cannot be used.
    """
    if name == "grpcio":
        from mishards.transport.grpcio import GrpcioTransport

        return GrpcioTransport(server_tls, client_tls)
    from mishards.transport.h2.options import H2Options
    from mishards.transport.h2.transport import H2Transport

    options = H2Options(
        server_tls=server_context(server_tls) if server_tls else None,
        client_tls=client_context(client_tls) if client_tls else None,
        server_name=client_tls.server_name if client_tls else "",
    )
    return H2Transport(options)
