from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import hypothesis.strategies as st
import pytest
from hypothesis import given

from harness.waiting import eventually
from milvus_node.errors import SegmentMissing
from milvus_node.search.cache import SegmentCache, key_of
from mishards.catalog.records import FileRecord, FileType
from mishards.catalog.snapshot import Collection, Segment
from mishards.deadline import Deadline
from mishards.errors import DeadlineExceeded

WAIT_S = 20.0
ANY = cast("Collection", None)
"""The cache hands it to the loader and looks at nothing of it."""


def segment(name: str, size: int = 10, *, file_id: str = "", row: int = 1) -> Segment:
    """A segment that takes ``size`` bytes in memory."""
    file = FileRecord(row, "words", name, 1, file_id or name, FileType.RAW, size, 0, 1, 1, -1, 0)
    return Segment(name, "words", file, None)


@dataclass
class Loaded:
    name: str
    nbytes: int


class Loader:
    """Loads what is asked for, holds or fails where it is told to, and counts."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.errors: list[Exception] = []
        self.free = threading.Event()
        self.free.set()

    def __call__(self, _: Collection, wanted: Segment) -> Any:
        self.loads.append(wanted.segment_id)
        assert self.free.wait(WAIT_S)
        if self.errors:
            raise self.errors.pop()
        return Loaded(wanted.segment_id, wanted.file.file_size)


@pytest.fixture
def loader() -> Loader:
    return Loader()


def use(cache: SegmentCache, *wanted: Segment) -> None:
    for each in wanted:
        with cache.hold(ANY, each) as loaded:
            assert cast("Loaded", loaded).name == each.segment_id


@contextmanager
def held(cache: SegmentCache, *wanted: Segment) -> Iterator[None]:
    with ExitStack() as stack:
        for each in wanted:
            stack.enter_context(cache.hold(ANY, each))
        yield


def test_a_segment_is_loaded_once_and_then_found(loader: Loader) -> None:
    cache = SegmentCache(loader, 100)
    use(cache, segment("a"), segment("a"), segment("b"))
    assert loader.loads == ["a", "b"]
    usage = cache.usage
    assert (usage.nbytes, usage.segments, usage.hits, usage.loads, usage.evictions) == (20, 2, 1, 2, 0)


def test_many_who_want_a_segment_at_once_share_one_load(loader: Loader) -> None:
    cache = SegmentCache(loader, 100)
    loader.free.clear()
    with ThreadPoolExecutor(8) as pool:
        uses = [pool.submit(use, cache, segment("a")) for _ in range(8)]
        eventually(lambda: cache.usage.hits == 7, WAIT_S, "all of them wait")
        loader.free.set()
        for each in uses:
            each.result(WAIT_S)
    assert loader.loads == ["a"]


def test_who_waits_for_the_load_of_another_goes_at_the_deadline_and_the_load_goes_on(loader: Loader) -> None:
    cache = SegmentCache(loader, 100)
    loader.free.clear()
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(use, cache, segment("a"))
        eventually(lambda: loader.loads, WAIT_S, "it is being loaded")
        late = cache.hold(ANY, segment("a"), Deadline.after(0.02))
        with pytest.raises(DeadlineExceeded, match="segment a of table words was still being loaded"):
            late.__enter__()
        loader.free.set()
        loading.result(WAIT_S)
    use(cache, segment("a"))
    assert loader.loads == ["a"]


def test_a_thread_is_away_while_it_loads_or_waits_and_not_while_it_searches(loader: Loader) -> None:
    steps: list[str] = []

    @contextmanager
    def away() -> Iterator[None]:
        steps.append("away")
        yield
        steps.append("back")

    cache = SegmentCache(loader, 100, away)
    with cache.hold(ANY, segment("a")):
        steps.append("search")
    with cache.hold(ANY, segment("a")):
        steps.append("search")
    assert steps == ["away", "back", "search", "search"]


def test_a_load_that_fails_fails_everyone_who_waits_and_the_next_one_tries_again(loader: Loader) -> None:
    cache = SegmentCache(loader, 100)
    loader.free.clear()
    loader.errors = [SegmentMissing("a is missing")]
    with ThreadPoolExecutor(4) as pool:
        uses = [pool.submit(use, cache, segment("a")) for _ in range(4)]
        eventually(lambda: cache.usage.hits == 3, WAIT_S, "all of them wait")
        loader.free.set()
        for each in uses:
            with pytest.raises(SegmentMissing, match="a is missing"):
                each.result(WAIT_S)
    assert cache.usage.segments == 0
    use(cache, segment("a"))
    assert loader.loads == ["a", "a"]


def test_a_segment_is_known_by_its_files_not_by_the_catalogs_row(loader: Loader) -> None:
    cache = SegmentCache(loader, 100)
    use(cache, segment("a", row=1), segment("a", row=2), segment("a", file_id="index"), segment("b", row=1))
    assert loader.loads == ["a", "a", "b"]


def test_the_least_recently_used_goes_first(loader: Loader) -> None:
    cache = SegmentCache(loader, 30)
    use(cache, segment("a"), segment("b"), segment("c"), segment("a"), segment("d"), segment("a"), segment("c"))
    assert loader.loads == ["a", "b", "c", "d"]
    use(cache, segment("b"))
    assert loader.loads[4:] == ["b"]
    assert cache.usage.evictions == 2


def assert_no_room(cache: SegmentCache, wanted: Segment) -> None:
    refused = rf"no room for segment {wanted.segment_id} .*, now {cache.capacity_bytes}$"
    with pytest.raises(DeadlineExceeded, match=refused), cache.hold(ANY, wanted, Deadline.after(0.05)):
        pass


def test_what_is_in_use_is_not_evicted_and_a_load_that_does_not_fit_beside_it_waits(loader: Loader) -> None:
    cache = SegmentCache(loader, 20)
    with ThreadPoolExecutor(1) as pool:
        with held(cache, segment("a"), segment("b")):
            waiting = pool.submit(use, cache, segment("c"))
            assert_no_room(cache, segment("d"))
            use(cache, segment("a"), segment("b"))
            assert (loader.loads, cache.usage.nbytes) == (["a", "b"], 20)
        waiting.result(WAIT_S)
    assert (loader.loads, cache.usage.nbytes) == (["a", "b", "c"], 20)


def test_segments_being_loaded_take_room_and_a_failed_load_gives_it_back(loader: Loader) -> None:
    cache = SegmentCache(loader, 20)
    loader.free.clear()
    loader.errors = [SegmentMissing("one is missing")]
    with ThreadPoolExecutor(5) as pool:
        uses = [pool.submit(use, cache, segment(name)) for name in "abcde"]
        eventually(lambda: len(loader.loads) == 2, WAIT_S, "two of them fit")
        assert cache.usage.nbytes == 20
        loader.free.set()
        errors = [each.exception(WAIT_S) for each in uses]
    assert sorted(map(str, filter(None, errors))) == ["one is missing"]
    assert sorted(loader.loads) == list("abcde")
    assert cache.usage.nbytes <= 20


def test_one_larger_than_the_cache_waits_until_nothing_else_is_in_use(loader: Loader) -> None:
    cache = SegmentCache(loader, 20)
    with ThreadPoolExecutor(1) as pool:
        with held(cache, segment("a")):
            waiting = pool.submit(use, cache, segment("large", 30))
            assert_no_room(cache, segment("large", 30))
        waiting.result(WAIT_S)
    assert loader.loads == ["a", "large"]


def test_room_is_made_when_a_segment_comes_not_when_its_search_ends(loader: Loader) -> None:
    cache = SegmentCache(loader, 20)
    use(cache, segment("a"), segment("b"))
    with held(cache, segment("c")):
        assert cache.usage.nbytes == 20


def test_a_segment_larger_than_the_cache_is_served_and_not_kept(loader: Loader) -> None:
    cache = SegmentCache(loader, 5)
    use(cache, segment("a"))
    assert (cache.usage.nbytes, cache.usage.segments) == (0, 0)


def test_a_released_segment_is_loaded_again_and_who_uses_it_goes_on(loader: Loader) -> None:
    cache = SegmentCache(loader, 100)
    with cache.hold(ANY, segment("a")) as loaded:
        cache.release({key_of(segment("a")), key_of(segment("unknown"))})
        assert cache.usage.nbytes == 0
        use(cache, segment("a"))
        assert cast("Loaded", loaded).name == "a"
    assert loader.loads == ["a", "a"]
    assert cache.usage.nbytes == 10


def test_a_segment_released_while_it_is_loaded_counts_no_bytes(loader: Loader) -> None:
    cache = SegmentCache(loader, 100)
    loader.free.clear()
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(use, cache, segment("a"))
        eventually(lambda: loader.loads, WAIT_S, "it is being loaded")
        cache.release({key_of(segment("a"))})
        loader.free.set()
        loading.result(WAIT_S)
    assert (cache.usage.nbytes, cache.usage.segments) == (0, 0)


def test_what_no_one_names_any_more_can_be_dropped_but_for_what_is_in_use(loader: Loader) -> None:
    cache = SegmentCache(loader, 100)
    use(cache, segment("a"), segment("b"))
    with held(cache, segment("c")):
        cache.retain({key_of(segment("a"))})
        assert cache.usage.nbytes == 20
    assert cache.usage.segments == 2


def test_a_smaller_cache_lets_go_at_once(loader: Loader) -> None:
    cache = SegmentCache(loader, 100)
    use(cache, segment("a"), segment("b"), segment("c"))
    cache.resize(15)
    assert cache.usage.nbytes == 10
    use(cache, segment("c"))
    assert loader.loads == ["a", "b", "c"]


@given(
    steps=st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["use", "hold", "let go", "release"]))),
    capacity=st.integers(0, 60),
)
def test_bytes_are_bounded_by_capacity_and_use_and_add_up(steps: list[tuple[str, str]], capacity: int) -> None:
    sizes = {name: 5 * number for number, name in enumerate("abcdef", start=1)}
    cache = SegmentCache(Loader(), capacity)
    using: list[tuple[str, Any]] = []
    for name, step in steps:
        wanted = segment(name, sizes[name])
        if step in ("use", "hold"):
            context = cache.hold(ANY, wanted, Deadline.after(0))
            try:
                context.__enter__()
            except DeadlineExceeded:
                beside = [key[1] for key in cache._entries]
                assert beside, "an empty cache takes anything"
                assert set(beside) <= {each for each, _ in using}, "what is not in use made room"
                assert sum(sizes[each] for each in beside) + sizes[name] > capacity
            else:
                using.append((name, context))
                if step == "use":
                    using.pop()[1].__exit__(None, None, None)
        elif step == "release":
            cache.release({key_of(wanted)})
        elif using:
            using.pop(0)[1].__exit__(None, None, None)
        in_use = sum(sizes[name] for name in {name for name, _ in using})
        assert cache.usage.nbytes <= max(capacity, in_use)
        assert cache.usage.nbytes == sum(sizes[key[1]] for key in cache._entries)
    while using:
        using.pop()[1].__exit__(None, None, None)
    assert cache.usage.nbytes <= capacity


def test_threads_with_a_small_cache_find_what_they_ask_for(loader: Loader) -> None:
    cache = SegmentCache(loader, 25)

    def work(number: int) -> None:
        for step in range(200):
            use(cache, segment("abcdef"[(number * step) % 6]))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(1, 7)))
    assert cache.usage.nbytes <= 25
    assert cache.usage.hits + cache.usage.loads == 1200
