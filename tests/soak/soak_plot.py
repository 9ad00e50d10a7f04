"""Lines over time as SVG, with bands where something happened. Pure: numbers in, text out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_COLOURS = (
    *("#2563eb", "#dc2626", "#16a34a", "#9333ea", "#ea580c", "#0891b2", "#ca8a04", "#64748b", "#db2777", "#4d7c0f"),
    *("#7f1d1d", "#0f172a", "#14b8a6"),
)
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 24, 8, 22
_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True)
class Band:
    """From one time to another; the text is shown by the pointer."""

    first: float
    last: float
    text: str


def plot(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    bands: Sequence[Band],
    seconds: float,
    size: tuple[int, int] = (960, 200),
) -> str:
    """Return a plot of named lines over ``seconds``, with a legend below it."""
    width, height = size
    top = _rounded_up(max((value for points in lines.values() for _, value in points), default=1) or 1)
    across, up = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM

    def x(at: float) -> str:
        return f"{_LEFT + across * at / seconds:.1f}"

    def y(value: float) -> str:
        return f"{_TOP + up * (1 - value / top):.1f}"

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img">']
    for band in bands:
        wide = max(1.0, across * (band.last - band.first) / seconds)
        parts.append(
            f'<rect class="band" x="{x(band.first)}" y="{_TOP}" width="{wide:.1f}" height="{up}">'
            f"<title>{escape(band.text)}</title></rect>"
        )
    for share in (0.0, 0.5, 1.0):
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y(share * top)}" y2="{y(share * top)}"/>'
        )
        parts.append(f'<text x="{_LEFT - 6}" y="{float(y(share * top)) + 4:.1f}" class="side">{share * top:g}</text>')
    minutes = range(0, int(seconds / 60) + 1, max(1, int(_rounded_up(seconds / 60 / 10))))
    parts += [f'<text x="{x(60 * minute)}" y="{height - 6}" class="below">{minute} min</text>' for minute in minutes]
    for number, points in enumerate(lines.values()):
        path = " ".join(f"{x(at)},{y(value)}" for at, value in points)
        parts.append(f'<polyline points="{path}" stroke="{_colour(number)}"/>')
    return "".join(parts) + "</svg>" + _legend(lines)


def _legend(lines: Mapping[str, object]) -> str:
    entries = (f'<span><i style="background:{_colour(n)}"></i>{escape(name)}</span>' for n, name in enumerate(lines))
    return f'<p class="legend">{"".join(entries)}</p>'


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _rounded_up(value: float) -> float:
    """To the next of 1, 2, 5, 10 and so on."""
    scale = 10.0 ** math.floor(math.log10(value))
    return float(next(scale * step for step in _STEPS if scale * step >= value * (1 - 1e-9)))
