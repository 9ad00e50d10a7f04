"""Charts as inline SVG: a bar against its target, curves of latency over percentiles. Pure; colours are CSS classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from goals import Result, with_unit

_BAR_WIDTH, _BAR_HEIGHT = 560, 34
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 560, 300, 52, 30, 12
_PERCENTILES = (0.5, 0.9, 0.99, 0.999)


def bar(result: Result) -> str:
    """The median as a bar, its rounds as dots, the target as a line; the longest of them fills the width."""
    goal = result.goal
    marks = [goal.target, *([goal.stretch] if goal.stretch is not None else [])]
    scale = (_BAR_WIDTH - 8) / max(*result.rounds, *marks, 1e-9) * 0.94

    def x(value: float) -> float:
        return max(0.0, value * scale)

    parts = [_strip("track", 0, _BAR_WIDTH, 16)]
    good_from, good_to = (0.0, x(goal.target)) if goal.comparison == "<=" else (x(goal.target), float(_BAR_WIDTH))
    parts.append(_strip("wanted", good_from, good_to - good_from, 16))
    parts.append(_strip("bar met" if result.met else "bar missed", 0, max(x(result.median), 3), 10))
    parts += [f'<circle class="round" cx="{x(value):.1f}" cy="17" r="2.6"/>' for value in result.rounds]
    if goal.stretch is not None:
        parts.append(f'<line class="stretch" x1="{x(goal.stretch):.1f}" x2="{x(goal.stretch):.1f}" y1="5" y2="29"/>')
    parts.append(f'<line class="target" x1="{x(goal.target):.1f}" x2="{x(goal.target):.1f}" y1="2" y2="32"/>')
    label = f"{goal.title}: {with_unit(result.median, goal.unit)}, target {goal.comparison} {goal.target:g}"
    return (
        f'<svg class="goal-bar" viewBox="0 0 {_BAR_WIDTH} {_BAR_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def _strip(kind: str, x: float, width: float, height: int) -> str:
    y = 17 - height / 2
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:g}" width="{width:.1f}" height="{height}" rx="{height / 2:g}"/>'


def latency_curves(shares: Sequence[float], curves: Mapping[str, Sequence[float]]) -> str:
    """Milliseconds over percentiles, both logarithmic: the tail has as much room as the rest."""
    drawn = {
        name: [(s, v) for s, v in zip(shares, values, strict=True) if s <= 0.999] for name, values in curves.items()
    }
    values = [value for points in drawn.values() for _, value in points if value > 0]
    low, high = math.log10(min(values)), math.log10(max(values))
    low, high = math.floor(low * 4) / 4 - 0.02, math.ceil(high * 4) / 4 + 0.02

    def x(share: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 8) * math.log10(1 - share) / math.log10(1 - _PERCENTILES[-1])

    def y(value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - math.log10(max(value, 10**low))) / (high - low)

    parts = [_percentile(x(share), share) for share in _PERCENTILES]
    parts += [_level(y(value), value) for value in _ticks(low, high)]
    for number, points in enumerate(drawn.values()):
        line = " ".join(f"{x(share):.1f},{y(value):.1f}" for share, value in points)
        parts.append(f'<polyline class="curve c{number % 8}" points="{line}"/>')
    keys = [f'<span><i class="key k{number % 8}"></i>{escape(name)}</span>' for number, name in enumerate(drawn)]
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="latency by percentile">'
        f"{''.join(parts)}</svg><figcaption><b>ms by percentile</b>{''.join(keys)}</figcaption></figure>"
    )


def _ticks(low: float, high: float) -> list[float]:
    every = [digit * 10.0**power for power in range(-4, 6) for digit in (1, 2, 5)]
    shown = [value for value in every if low <= math.log10(value) <= high]
    return shown if len(shown) <= 8 else [value for value in shown if f"{value:e}".startswith("1")]


def _percentile(x: float, share: float) -> str:
    anchor = "end" if share == _PERCENTILES[-1] else "middle"
    return (
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
        f'<text class="axis" x="{x:.1f}" y="{_HEIGHT - 10}" text-anchor="{anchor}">p{100 * share:g}</text>'
    )


def _level(y: float, value: float) -> str:
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="axis" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
    )
