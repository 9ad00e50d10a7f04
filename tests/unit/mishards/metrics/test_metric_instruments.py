from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import Metric as Family

from milvus_node.metrics import declarations as node_metrics
from mishards.metrics import router as router_metrics
from mishards.metrics.declare import Kind, Metric, counter, gauge, histogram
from mishards.metrics.instruments import Counts, Durations, family, single

BOUNDS = (0.1, 1.0, 10.0)


def values(shown: Family) -> dict[tuple[str, ...], float]:
    return {(sample.name, *sample.labels.values()): sample.value for sample in shown.samples}


@given(st.lists(st.floats(0, 20) | st.sampled_from(BOUNDS)))
def test_a_histogram_counts_as_the_librarys_own(durations: list[float]) -> None:
    theirs = Histogram("a_seconds", "help", buckets=BOUNDS, registry=CollectorRegistry())
    ours = Durations(histogram("a_seconds", "help", buckets=BOUNDS))
    ours.add(0.0)
    theirs.observe(0.0)
    for seconds in durations:
        ours.add(seconds)
        theirs.observe(seconds)
    (expected,) = theirs.collect()

    def numbers(shown: Family) -> list[tuple[str, float, float]]:
        found = [(s.name, float(s.labels.get("le", "0")), s.value) for s in shown.samples]
        return sorted(entry for entry in found if not entry[0].endswith("_created"))

    assert numbers(ours.family()) == numbers(expected)


def test_counts_of_many_threads_add_up() -> None:
    counts, durations = Counts(counter("a_total", "help", "x")), Durations(histogram("b_seconds", "help"))

    def work(_: int) -> None:
        for _ in range(1000):
            counts.add("v", amount=2)
            durations.add(0.01)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert values(counts.family()) == {("a_total", "v"): 8000}
    assert values(durations.family())[("b_seconds_count",)] == 4000


def test_what_is_expected_is_shown_before_it_happens() -> None:
    assert values(Counts(counter("a_total", "help")).family()) == {("a_total",): 0}
    assert values(Counts(counter("a_total", "help", "x")).family()) == {}
    assert values(Counts(counter("a_total", "help", "x"), "v").family()) == {("a_total", "v"): 0}


def test_what_is_gone_is_forgotten() -> None:
    durations = Durations(histogram("a_seconds", "help", "node", buckets=(1.0,)))
    durations.add(0.5, "here")
    durations.add(0.5, "gone")
    durations.keep(lambda labels: labels != ("gone",))
    assert {sample.labels["node"] for sample in durations.family().samples} == {"here"}


def test_a_value_that_is_known_is_shown_as_what_it_was_declared() -> None:
    assert values(single(gauge("a_bytes", "help", unit="bytes"), 7)) == {("a_bytes",): 7}
    shown = family(counter("a_seconds_total", "help", "x", unit="seconds"), [(("v",), 1.5)])
    assert (shown.type, shown.unit, values(shown)) == ("counter", "seconds", {("a_seconds_total", "v"): 1.5})


@pytest.mark.parametrize(
    ("kind", "name", "unit", "buckets"),
    [
        (Kind.COUNTER, "a", "", ()),
        (Kind.GAUGE, "a_total", "", ()),
        (Kind.GAUGE, "a_seconds_old", "seconds", ()),
        (Kind.GAUGE, "a", "", (1.0,)),
        (Kind.HISTOGRAM, "a_seconds", "seconds", ()),
    ],
)
def test_a_declaration_that_breaks_the_conventions_is_refused(
    kind: Kind, name: str, unit: str, buckets: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match=f"metric {name}: "):
        Metric(kind, name, "help", unit, (), buckets)


def test_every_metric_has_a_name_of_its_own_a_sentence_and_rising_buckets() -> None:
    for prefix, metrics in (("mishards_", router_metrics.ALL), ("milvus_node_", node_metrics.ALL)):
        assert len({metric.name for metric in metrics}) == len(metrics) > 20
        for metric in metrics:
            assert metric.name.startswith(prefix)
            assert metric.help.endswith((".", "?"))
            assert list(metric.buckets) == sorted(set(metric.buckets))
