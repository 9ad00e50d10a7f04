"""Both transports keep the contract of the seam; ours on both event loops."""

from __future__ import annotations

import pytest

from mishards.testing.transport import CallSuite
from mishards.testing.transport_begin import ChannelBeginSuite, HandlerBeginSuite
from mishards.testing.transport_connections import ConnectionSuite
from mishards.transport.api import Transport
from mishards.transport.grpcio import GrpcioTransport
from mishards.transport.h2.transport import H2Transport


class TestGrpcio(CallSuite, HandlerBeginSuite, ConnectionSuite):
    @pytest.fixture
    def transport(self) -> Transport:
        return GrpcioTransport()


class TestH2(CallSuite, HandlerBeginSuite, ChannelBeginSuite, ConnectionSuite):
    @pytest.fixture
    def transport(self) -> Transport:
        return H2Transport()
