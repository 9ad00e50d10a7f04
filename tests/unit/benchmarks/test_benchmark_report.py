"""The page and the table that are made of what benchmarks wrote, and the baseline's merge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from charts import bar, latency_curves
from goals import Goal, Result
from hypothesis import given
from hypothesis import strategies as st
from page import page
from plain_router import merged
from results import Report
from table import document

from mishards.wire.protos import milvus_pb2 as pb

SVG_WIDTH = 560.0
SLOW = Goal("slow", "router <own> / nginx", "<=", 1.25, stretch=1.0, reason="It writes <twice>.")


def report(*results: Result, stopped: str = "", unmeasured: tuple[Goal, ...] = ()) -> Report:
    return Report(
        name="hop",
        title="A hop & more",
        stopped=stopped,
        tiny=False,
        results=results,
        unmeasured=unmeasured,
        figures={"router": {"p50 ms": 0.25}, "nginx": {"calls/s": 41_000.0}},
        shares=(0.0, 0.5, 0.99, 1.0),
        curves={"router": (0.1, 0.2, 3.0, 4.0)},
        notes=("Quiet.",),
        setup={
            "processor": "P, 2 cores", "memory": "24 GiB", "system": "Linux", "python": "3.11", "versions": "numpy 2",
            "commit": "abc", "rounds": 3, "load": [0.2, 1.4], "at": "2026-01-01", "took_s": 90.0,
            "busy": [0.0, 0.07], "compiled": "No.", "pinned": "No.",
        },
    )  # fmt: skip


def rectangles(chart: str) -> Mapping[str, tuple[float, float]]:
    """Class → x and width."""
    found = ElementTree.fromstring(chart).findall(".//rect")  # noqa: S314 - we made it
    return {one.attrib["class"]: (float(one.attrib["x"]), float(one.attrib["width"])) for one in found}


@given(
    st.lists(st.floats(0.01, 1e5), min_size=1, max_size=5), st.floats(0.01, 1e5), st.sampled_from(["<=", ">="])
)  # fmt: skip
def test_a_bar_ends_on_the_green_ground_where_the_goal_is_met(rounds: list[float], target: float, way: str) -> None:
    result = Result(Goal("g", "t", "<=" if way == "<=" else ">=", target), tuple(rounds))
    drawn = rectangles(bar(result))
    _, end = drawn["bar met" if result.met else "bar missed"]
    start, width = drawn["wanted"]
    inside = start - 0.2 <= end <= start + width + 0.2
    assert end <= SVG_WIDTH
    assert inside or not result.met or end == 3.0  # the least that can be seen


def test_curves_are_lines_through_every_percentile_below_the_last() -> None:
    figure = ElementTree.fromstring(latency_curves((0.0, 0.5, 0.99, 1.0), {"a": (1, 2, 3, 4), "b": (2, 2, 2, 9)}))  # noqa: S314 - we made it
    lines = [line.attrib["points"].split() for line in figure.findall(".//polyline")]
    assert [len(points) for points in lines] == [3, 3]
    heights = [float(point.split(",")[1]) for point in lines[0]]
    assert heights == sorted(heights, reverse=True)


def test_the_page_counts_the_verdicts_and_escapes_what_it_is_told() -> None:
    shown = page([report(Result(SLOW, (2.0, 2.5, 3.0)), Result(Goal("g", "fine", ">=", 1.0), (2.0,)))], [])
    assert '<div class="tile met"><b>1</b>' in shown
    assert '<div class="tile missed"><b>1</b>' in shown
    assert "router &lt;own&gt; / nginx" in shown
    assert "It writes &lt;twice&gt;." in shown
    assert "load average 0.2 to 1.4, others at 7% of the cores" in shown


def test_the_page_links_flame_graphs() -> None:
    assert 'href="profile-router.svg"' in page([report()], [Path("/x/profile-router.svg")])


def test_the_table_states_a_miss_with_its_figure_and_reason() -> None:
    text = document([report(Result(SLOW, (2.0, 2.5, 3.0)))])
    assert "**0 of 1 goals are met.**" in text
    assert "- **Missed** (2.50 x): router <own> / nginx. It writes <twice>." in text
    assert "| router <own> / nginx | ≤ 1.25 x | **2.50 x** | 2.00, 2.50, 3.00 | missed |" in text


def test_the_table_says_what_could_not_be_measured() -> None:
    text = document([report(stopped="skipped: nginx is not installed", unmeasured=(SLOW,))])
    assert "**skipped: nginx is not installed**" in text
    assert "**0 of 0 goals are met; 1 could not be measured.**" in text
    assert "- Not measured: router <own> / nginx." in text


def test_a_goal_that_is_met_gives_no_reason() -> None:
    assert "twice" not in document([report(Result(SLOW, (1.0,)))])


def test_the_plain_router_answers_the_nearest_of_all_nodes_row_by_row() -> None:
    replies = [
        pb.TopKQueryResult(row_num=2, ids=[1, 2, 5, 6], distances=[0.125, 0.75, 0.25, 0.5]),
        pb.TopKQueryResult(row_num=2, ids=[3, 7], distances=[0.5, 0.125]),
    ]
    found = merged(replies, 2, 2)
    assert list(found.ids) == [1, 3, 7, 5]
    assert list(found.distances) == [0.125, 0.5, 0.125, 0.25]


def test_a_graph_is_shown_with_what_is_left_to_gain() -> None:
    assert "search of the index" in page([report()], [Path("/x/profile-node.svg")])
