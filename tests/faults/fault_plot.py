"""The timeline of one fault as SVG: who succeeded and who failed, how long searches took, with the fault shaded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from faults.fault_record import Record

from harness.traffic import READS, Call, Outcome

_WIDTH, _HEIGHT = 1000, 216
_LEFT, _RIGHT = 66, 12
_LATENCY_TOP, _LATENCY_BOTTOM = 26, 128
_READS_TOP, _WRITES_TOP, _LANE = 138, 166, 22
_FASTEST_S, _SLOWEST_S = 1e-3, 10.0
_BINS = 110
_GAP = 6
"""So many bins without an answer are a gap in the line."""


@dataclass(frozen=True)
class _Axis:
    first: float
    last: float

    def x(self, seconds: float) -> float:
        share = (min(max(seconds, self.first), self.last) - self.first) / (self.last - self.first)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def bins(self, calls: Sequence[Call]) -> list[list[Call]]:
        """The calls by the moment at which they ended."""
        found: list[list[Call]] = [[] for _ in range(_BINS)]
        for call in calls:
            place = int((call.ended - self.first) / (self.last - self.first) * _BINS)
            if 0 <= place < _BINS:
                found[place].append(call)
        return found

    def edge(self, place: int) -> float:
        return _LEFT + place / _BINS * (_WIDTH - _LEFT - _RIGHT)


def timeline(record: Record) -> str:
    """The plot of a row."""
    last = max(record.ended, record.began + 1.0)
    axis = _Axis(record.began, last)
    reads = [call for call in record.calls if call.kind in READS]
    writes = [call for call in record.calls if call.kind not in READS]
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="timeline of row {record.number}">',
        *_shades(record, axis),
        *_grid(axis),
        *_latency(axis, [call for call in reads if call.outcome is Outcome.RIGHT]),
        *_lane(axis, reads, _READS_TOP, "searches"),
        *_lane(axis, writes, _WRITES_TOP, "writes"),
        "</svg>",
    ]
    return "".join(parts)


def _shades(record: Record, axis: _Axis) -> Iterator[str]:
    for name, first, end in (("fault", 0.0, record.healing), ("healing", record.healing, record.recovered)):
        left, right = axis.x(first), axis.x(end)
        yield f'<rect class="{name}" x="{left:.1f}" y="14" width="{max(right - left, 0.5):.1f}" height="176"/>'
        if right - left > 46:
            yield f'<text class="what" x="{left + 4:.1f}" y="11">{"fault" if name == "fault" else "recovering"}</text>'


def _grid(axis: _Axis) -> Iterator[str]:
    for seconds, text in ((1e-3, "1 ms"), (1e-2, "10 ms"), (1e-1, "100 ms"), (1.0, "1 s"), (10.0, "10 s")):
        y = _y(seconds)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="side" x="{_LEFT - 7}" y="{y + 4:.1f}">{text}</text>'
    step = _step(axis.last - axis.first)
    for tick in range(math.ceil(axis.first / step), math.floor(axis.last / step) + 1):
        x = axis.x(tick * step)
        yield f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="190" y2="194"/>'
        yield f'<text class="below" x="{x:.1f}" y="208">{tick * step:g} s</text>'


def _step(seconds: float) -> float:
    return next(step for step in (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, math.inf) if seconds / step <= 12)


def _latency(axis: _Axis, calls: Sequence[Call]) -> Iterator[str]:
    """A line through the medians of searches, and a band from there to the slowest, from moment to moment."""
    stretches: list[list[tuple[float, float, float]]] = []
    latest = -math.inf
    for place, found in enumerate(axis.bins(calls)):
        if found:
            taken = sorted(call.seconds for call in found)
            if place - latest > _GAP:
                stretches.append([])
            stretches[-1].append((axis.edge(place), taken[len(taken) // 2], taken[-1]))
            latest = place
    for points in stretches:
        upper = [f"{x:.1f},{_y(slowest):.1f}" for x, _, slowest in points]
        middle = [f"{x:.1f},{_y(median):.1f}" for x, median, _ in points]
        yield f'<polygon class="band" points="{" ".join([*upper, *reversed(middle)])}"/>'
        yield f'<polyline class="median" points="{" ".join(middle)}"/>'


def _lane(axis: _Axis, calls: Sequence[Call], top: float, name: str) -> Iterator[str]:
    """Bars of calls: right ones grow upwards in a quiet colour, failed and wrong ones stand before them."""
    bins = axis.bins(calls)
    most = max((len(found) for found in bins), default=0) or 1
    width = (_WIDTH - _LEFT - _RIGHT) / _BINS
    yield f'<text class="side" x="{_LEFT - 7}" y="{top + 15}">{name}</text>'
    for place, found in enumerate(bins):
        bottom = top + _LANE
        for kind in ("right", "failed", "wrong"):
            count = sum(_shown_as(call) == kind for call in found)
            if count:
                height = max(count / most * _LANE, 3.0)
                bottom -= height
                title = f"<title>{count} {name} {kind} at {found[0].ended:.1f} s</title>"
                yield (
                    f'<rect class="{kind}" x="{axis.edge(place) + 0.6:.1f}" y="{bottom:.1f}" '
                    f'width="{width - 1.2:.1f}" height="{height:.1f}">{title}</rect>'
                )


def _shown_as(call: Call) -> str:
    if call.outcome is Outcome.RIGHT:
        return "right"
    return "failed" if call.outcome is Outcome.FAILED else "wrong"


def _y(seconds: float) -> float:
    inside = min(max(seconds, _FASTEST_S), _SLOWEST_S)
    share = math.log10(inside / _FASTEST_S) / math.log10(_SLOWEST_S / _FASTEST_S)
    return _LATENCY_BOTTOM - share * (_LATENCY_BOTTOM - _LATENCY_TOP)
