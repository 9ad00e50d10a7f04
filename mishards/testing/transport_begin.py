"""What the short ways of a transport must be, of handlers and of channels; subclass and say how yours is made."""

# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from mishards.errors import MishardsError, NodeRejected, NodeUnavailable, RpcStatus
from mishards.testing.transport import ANY, Held, echo, serving, soon, within
from mishards.transport.api import Call, Channel, GiveUp, Outcome, Transport, begin_on


class Brief:
    """A handler with a short way for calls of ``Search``; others take the usual one."""

    def __init__(self) -> None:
        self.begun: list[tuple[Call, Outcome]] = []
        self.given_up = asyncio.Event()
        self.arrived = asyncio.Event()
        self.answers = True

    async def __call__(self, call: Call) -> bytes:
        """The usual way."""
        return b"usual " + call.request

    def begin(self, call: Call, outcome: Outcome) -> GiveUp | None:
        """The short way: answers in the next turn of the loop, or when it is told to."""
        if call.method != "Search":
            return None
        self.begun.append((call, outcome))
        self.arrived.set()
        if self.answers:
            asyncio.get_running_loop().call_soon(outcome, b"short " + call.request, None)
        return self.given_up.set


class Told:
    """An outcome that remembers what it was told."""

    def __init__(self) -> None:
        self.outcomes: list[bytes | MishardsError] = []
        self.ended = asyncio.Event()
        self.give_up: GiveUp | None = None

    def __call__(self, reply: bytes, error: MishardsError | None) -> None:
        """The end of a call."""
        self.outcomes.append(reply if error is None else error)
        self.ended.set()


async def connected(channel: Channel) -> None:
    """Have the channel make its connection."""
    await channel.call("Cmd", b"", deadline=soon())


class HandlerBeginSuite:
    """Handlers with a short way; the fixture ``transport`` gives one."""

    @pytest.fixture
    def transport(self) -> Transport:
        """Override: the transport."""
        raise NotImplementedError

    async def test_the_short_way_answers_and_what_it_declines_goes_the_usual_way(self, transport: Transport) -> None:
        brief = Brief()
        async with serving(transport, brief) as channel:
            replies = [await channel.call(method, b"a", deadline=soon()) for method in ("Search", "Cmd", "Search")]
        assert replies == [b"short a", b"usual a", b"short a"]
        assert len(brief.begun) == 2

    async def test_many_short_calls_get_each_its_own_reply(self, transport: Transport) -> None:
        async with serving(transport, Brief()) as channel:
            sent = [b"%d" % number for number in range(200)]
            replies = await asyncio.gather(*(channel.call("Search", each, deadline=soon()) for each in sent))
        assert replies == [b"short " + each for each in sent]

    async def test_an_error_at_the_end_of_the_short_way_is_the_status_of_the_call(self, transport: Transport) -> None:
        brief = Brief()
        brief.answers = False
        async with serving(transport, brief) as channel:
            calling = asyncio.create_task(channel.call("Search", b"", deadline=soon()))
            await within(brief.arrived)
            brief.begun[0][1](b"", NodeRejected("node", "no", RpcStatus.INVALID_ARGUMENT))
            with pytest.raises(NodeRejected) as caught:
                await calling
        assert caught.value.details == "no"
        assert not brief.given_up.is_set()

    async def test_metadata_of_the_reply_goes_the_short_way_too(self, transport: Transport) -> None:
        class Marking(Brief):
            def begin(self, call: Call, outcome: Outcome) -> GiveUp | None:
                call.reply_metadata.append(("request_id", "7"))
                return super().begin(call, outcome)

        async with serving(transport, Marking()) as channel:
            assert await channel.call("Search", b"a", deadline=soon()) == b"short a"

    async def test_a_caller_that_goes_away_has_the_short_way_given_up(self, transport: Transport) -> None:
        brief = Brief()
        brief.answers = False
        async with serving(transport, brief) as channel:
            calling = asyncio.create_task(channel.call("Search", b"", deadline=soon()))
            await within(brief.arrived)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            await within(brief.given_up)
            brief.answers = True
            assert await channel.call("Search", b"b", deadline=soon()) == b"short b"


class ChannelBeginSuite:
    """Channels with a short way; the fixture ``transport`` gives one."""

    @pytest.fixture
    def transport(self) -> Transport:
        """Override: the transport."""
        raise NotImplementedError

    async def test_a_call_that_ended_keeps_nothing_of_who_made_it(self, transport: Transport) -> None:
        async with serving(transport, echo) as channel:
            await connected(channel)
            begin, told = begin_on(channel), Told()
            assert begin is not None
            told.give_up = begin("Search", b"a", told, deadline=soon())
            await within(told.ended)
            alive = weakref.ref(told)
            gc.disable()  # what is left to the collector of garbage is looked at again and again
            try:
                del told
                assert alive() is None
            finally:
                gc.enable()

    async def test_without_a_connection_nothing_is_begun(self, transport: Transport) -> None:
        async with serving(transport, echo) as channel:
            begin, told = begin_on(channel), Told()
            assert begin is not None
            assert begin("Search", b"a", told, deadline=soon()) is None
            await connected(channel)
            assert begin("Search", b"a", told, deadline=soon()) is not None
            await within(told.ended)
        assert told.outcomes == [b"a"]

    async def test_the_error_of_the_other_end_is_told(self, transport: Transport) -> None:
        async def refuse(call: Call) -> bytes:
            if call.method == "Cmd":
                return b""
            raise NodeRejected("node", "no", RpcStatus.INVALID_ARGUMENT)

        async with serving(transport, refuse) as channel:
            await connected(channel)
            begin, told = begin_on(channel), Told()
            assert begin is not None
            assert begin("Search", b"", told, deadline=soon()) is not None
            await within(told.ended)
        assert [type(outcome) for outcome in told.outcomes] == [NodeRejected]

    async def test_what_is_given_up_is_cancelled_over_there_and_told_to_nobody(self, transport: Transport) -> None:
        held, told = Held(), Told()
        async with serving(transport, held) as channel:
            held.released.set()
            await connected(channel)
            held.released.clear()
            held.begun.clear()
            begin = begin_on(channel)
            assert begin is not None
            give_up = begin("Search", b"", told, deadline=soon())
            assert give_up is not None
            await within(held.begun)
            give_up()
            give_up()
            await within(held.cancelled)
            held.released.set()
            await connected(channel)
        assert told.outcomes == []

    async def test_a_connection_that_ends_is_told_to_every_call_on_it(self, transport: Transport) -> None:
        held, all_told = Held(), [Told() for _ in range(3)]
        server = transport.server(held, ANY)
        channel = transport.channel(await server.start())
        held.released.set()
        await connected(channel)
        held.released.clear()
        begin = begin_on(channel)
        assert begin is not None
        for told in all_told:
            assert begin("Search", b"", told, deadline=soon()) is not None
        await channel.close()
        for told in all_told:
            await within(told.ended)
            assert [type(outcome) for outcome in told.outcomes] == [NodeUnavailable]
        assert begin("Search", b"", all_told[0], deadline=soon()) is None
        await server.stop(0)
