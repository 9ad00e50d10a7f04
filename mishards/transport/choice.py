"""From a name in the configuration to a transport; what is not chosen is not imported."""

from __future__ import annotations

from mishards.transport.api import Transport

TRANSPORTS = ("h2", "grpcio")
"""Our own HTTP/2, and grpcio."""

DEFAULT = "grpcio"


def transport_of(name: str = DEFAULT) -> Transport:
    """The transport of a name in ``TRANSPORTS``."""
    if name == "grpcio":
        from mishards.transport.grpcio import GrpcioTransport

        return GrpcioTransport()
    from mishards.transport.h2.transport import H2Transport

    return H2Transport()
