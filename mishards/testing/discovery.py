"""What every discovery and every announcer must do; subclass and say how yours is made.

A plugin's own test module subclasses ``DiscoverySuite``, gives the fixture ``backend`` and inherits the tests; likewise
``LossSuite`` where the backend can be away, ``MalformedSuite`` where it can hold rubbish, ``AnnouncerSuite`` where
nodes can register. What a backend can do is a type of its own: nothing is skipped. ``Backend`` acts behind the plugin's
back, with the raw client.
"""

# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

import pytest

from mishards.discovery.api import Announcer, Discovery, Listener, NodeRecord, NodeRole, NodeState
from mishards.errors import DiscoveryError
from mishards.testing.waiting import eventually

WRITER = NodeRecord("writer", NodeRole.WRITABLE, "10.0.0.1:19530")
READER = NodeRecord("reader", NodeRole.READONLY, "[fd00::2]:19530", 2.5, "zone-a", NodeState.READY, frozenset({"x"}))


class Recorder(Listener):
    """A listener that keeps what it was told, and whether two threads ever told it at once."""

    def __init__(self) -> None:
        self.sets: list[frozenset[NodeRecord]] = []
        self.losses: list[DiscoveryError] = []
        self.overlapped = False
        self._busy = threading.Lock()

    @property
    def last(self) -> frozenset[NodeRecord] | None:
        """The set reported last."""
        return self.sets[-1] if self.sets else None

    @property
    def reports(self) -> int:
        """How often it was called."""
        return len(self.sets) + len(self.losses)

    def nodes(self, nodes: frozenset[NodeRecord]) -> None:
        """Keep a set."""
        self._note(lambda: self.sets.append(nodes))

    def lost(self, error: DiscoveryError) -> None:
        """Keep a loss."""
        self._note(lambda: self.losses.append(error))

    def _note(self, keep: Callable[[], None]) -> None:
        alone = self._busy.acquire(blocking=False)
        self.overlapped |= not alone
        keep()
        if alone:
            self._busy.release()


class Backend(ABC):
    """A backend, and ways to change it behind the plugin's back."""

    @abstractmethod
    def discovery(self) -> Discovery:
        """A new discovery on this backend."""

    @abstractmethod
    def publish(self, nodes: list[NodeRecord]) -> None:
        """Make these the nodes that exist, and no others."""

    def expected(self, nodes: list[NodeRecord]) -> frozenset[NodeRecord]:
        """What a discovery should report for these; where a backend carries less, what is left."""
        return frozenset(nodes)


class DiscoverySuite:
    """The clauses of ``Discovery``; the fixture ``backend`` gives a fresh ``Backend``."""

    @pytest.fixture
    def backend(self) -> Backend:
        """Override: a fresh backend."""
        raise NotImplementedError

    def test_the_first_set_is_there_when_open_returns(self, backend: Backend) -> None:
        backend.publish([WRITER, READER])
        discovery, heard = backend.discovery(), Recorder()
        discovery.open(heard)
        assert heard.last == backend.expected([WRITER, READER])
        discovery.close()

    def test_a_change_is_reported_as_a_whole_set(self, backend: Backend) -> None:
        backend.publish([WRITER])
        discovery, heard = backend.discovery(), Recorder()
        discovery.open(heard)
        backend.publish([WRITER, READER])
        eventually(lambda: heard.last == backend.expected([WRITER, READER]))
        backend.publish([READER])
        eventually(lambda: heard.last == backend.expected([READER]))
        discovery.close()

    def test_reports_never_overlap(self, backend: Backend) -> None:
        backend.publish([WRITER])
        discovery, heard = backend.discovery(), Recorder()
        discovery.open(heard)
        for nodes in ([READER], [WRITER, READER], [WRITER]) * 3:
            backend.publish(nodes)
        eventually(lambda: heard.last == backend.expected([WRITER]))
        discovery.close()
        assert not heard.overlapped

    def test_nothing_is_reported_after_close(self, backend: Backend) -> None:
        backend.publish([WRITER])
        discovery, heard = backend.discovery(), Recorder()
        discovery.open(heard)
        discovery.close()
        reports = heard.reports
        witness, seen = backend.discovery(), Recorder()
        witness.open(seen)
        backend.publish([READER])
        eventually(lambda: seen.last == backend.expected([READER]))
        witness.close()
        assert heard.reports == reports

    def test_close_may_come_first_and_be_repeated(self, backend: Backend) -> None:
        before = set(threading.enumerate())
        discovery = backend.discovery()
        discovery.close()
        discovery.close()
        assert set(threading.enumerate()) <= before


class LosableBackend(Backend):
    """A backend that can be away."""

    @abstractmethod
    def lose(self) -> None:
        """Make it unreachable."""

    @abstractmethod
    def restore(self) -> None:
        """Make it reachable again, with what it had."""


class LossSuite:
    """The clauses about a backend that is away; the fixture ``backend`` gives a fresh ``LosableBackend``."""

    @pytest.fixture
    def backend(self) -> LosableBackend:
        """Override: a fresh backend."""
        raise NotImplementedError

    def test_losing_the_backend_is_lost_and_never_an_empty_set(self, backend: LosableBackend) -> None:
        backend.publish([WRITER])
        discovery, heard = backend.discovery(), Recorder()
        discovery.open(heard)
        backend.lose()
        eventually(lambda: heard.losses)
        assert heard.last == backend.expected([WRITER])
        sets = len(heard.sets)
        backend.restore()
        eventually(lambda: len(heard.sets) > sets)
        assert heard.last == backend.expected([WRITER])
        discovery.close()

    def test_a_backend_that_is_away_from_the_start_is_lost_until_it_comes(self, backend: LosableBackend) -> None:
        backend.publish([WRITER])
        backend.lose()
        discovery, heard = backend.discovery(), Recorder()
        discovery.open(heard)
        assert heard.losses
        assert not heard.sets
        backend.restore()
        eventually(lambda: heard.last == backend.expected([WRITER]))
        discovery.close()


class SpoilableBackend(Backend):
    """A backend that can hold entries that are no nodes."""

    @abstractmethod
    def spoil(self) -> None:
        """Add some."""


class MalformedSuite:
    """The clause about entries that are no nodes; the fixture ``backend`` gives a fresh ``SpoilableBackend``."""

    @pytest.fixture
    def backend(self) -> SpoilableBackend:
        """Override: a fresh backend."""
        raise NotImplementedError

    def test_an_entry_that_is_no_node_is_left_out_and_the_rest_stand(self, backend: SpoilableBackend) -> None:
        backend.publish([WRITER])
        backend.spoil()
        discovery, heard = backend.discovery(), Recorder()
        discovery.open(heard)
        assert heard.last == backend.expected([WRITER])
        discovery.close()


class AnnouncingBackend(Backend):
    """A backend where nodes can register."""

    @abstractmethod
    def announcer(self) -> Announcer:
        """A new announcer on this backend."""


class AnnouncerSuite:
    """The clauses of ``Announcer``; the fixture ``backend`` gives a fresh ``AnnouncingBackend``."""

    @pytest.fixture
    def backend(self) -> AnnouncingBackend:
        """Override: a fresh backend."""
        raise NotImplementedError

    @pytest.fixture
    def heard(self, backend: AnnouncingBackend) -> Recorder:
        """What a discovery on the backend reports."""
        backend.publish([])
        self._discovery, heard = backend.discovery(), Recorder()
        self._discovery.open(heard)
        return heard

    def teardown_method(self) -> None:
        """Close the discovery of ``heard``."""
        if hasattr(self, "_discovery"):
            self._discovery.close()

    def test_an_announced_node_is_reported_with_every_field(self, backend: AnnouncingBackend, heard: Recorder) -> None:
        announcer = backend.announcer()
        announcer.announce(READER)
        eventually(lambda: heard.last == frozenset({READER}))
        announcer.withdraw()

    def test_announcing_again_replaces_the_record_and_never_drops_it(
        self, backend: AnnouncingBackend, heard: Recorder
    ) -> None:
        announcer = backend.announcer()
        states = [NodeState.JOINING, NodeState.READY, NodeState.DRAINING]
        records = [NodeRecord("n", NodeRole.READONLY, "h:1", state=state) for state in states]
        announcer.announce(records[0])
        eventually(lambda: heard.last == frozenset({records[0]}))
        sets = len(heard.sets)
        for record in records:
            announcer.announce(record)
        eventually(lambda: heard.last == frozenset({records[-1]}))
        assert frozenset() not in heard.sets[sets:]
        announcer.withdraw()

    def test_a_withdrawn_node_is_gone(self, backend: AnnouncingBackend, heard: Recorder) -> None:
        announcer = backend.announcer()
        announcer.announce(READER)
        eventually(lambda: heard.last == frozenset({READER}))
        announcer.withdraw()
        eventually(lambda: heard.last == frozenset())

    def test_withdraw_may_come_first_and_be_repeated(self, backend: AnnouncingBackend, heard: Recorder) -> None:
        announcer = backend.announcer()
        announcer.withdraw()
        announcer.announce(READER)
        announcer.withdraw()
        announcer.withdraw()
        eventually(lambda: heard.last == frozenset())

    def test_a_name_that_is_taken_is_refused(self, backend: AnnouncingBackend, heard: Recorder) -> None:
        first, second = backend.announcer(), backend.announcer()
        first.announce(READER)
        with pytest.raises(DiscoveryError, match=READER.name):
            second.announce(NodeRecord(READER.name, NodeRole.READONLY, "other:1"))
        eventually(lambda: heard.last == frozenset({READER}))
        first.withdraw()
        second.announce(READER)
        eventually(lambda: heard.last == frozenset({READER}))
        second.withdraw()

    def test_several_nodes_are_reported_together(self, backend: AnnouncingBackend, heard: Recorder) -> None:
        announcers = [backend.announcer() for _ in range(3)]
        records = [NodeRecord(f"n{i}", NodeRole.READONLY, f"h:{i + 1}") for i in range(3)]
        for announcer, record in zip(announcers, records, strict=True):
            announcer.announce(record)
        eventually(lambda: heard.last == frozenset(records))
        for announcer in announcers:
            announcer.withdraw()
