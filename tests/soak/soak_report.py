"""The page on which a soak is shown: verdict, what happened when, and whether what programs hold stays flat."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from soak.soak_plot import Band, plot
from soak.soak_work import Result

from harness.traffic import Outcome

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2937; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
.verdict { padding: .7rem 1rem; border-radius: .5rem; background: #dcfce7 } .verdict.bad { background: #fee2e2 }
table { border-collapse: collapse; width: 100%; font-size: 13px } td, th { text-align: right; padding: .2rem .5rem;
border-bottom: 1px solid #e5e7eb } td:first-child, th:first-child { text-align: left } .bad td { background: #fee2e2 }
svg { width: 100%; height: auto } svg text { font-size: 11px; fill: #6b7280 } .side { text-anchor: end }
.below { text-anchor: middle } .grid { stroke: #e5e7eb } .band { fill: #fde68a; opacity: .55 }
polyline { fill: none; stroke-width: 1.3; stroke-linejoin: round }
.legend { margin: 0; font-size: 12px } .legend span { margin-right: 1rem; white-space: nowrap }
.legend i { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; margin-right: .3rem }
"""
_BUCKETS = 120


def write_report(result: Result, folder: Path) -> Path:
    """Write ``index.html`` and return its path."""
    page = folder / "index.html"
    page.write_text(html(result), encoding="utf-8")
    return page


def html(result: Result) -> str:
    """The page as text."""
    bands = [Band(one.began, max(one.healed, one.began), one.row.name) for one in result.struck]
    seconds = max(result.seconds, 1.0)
    bad = " bad" if result.problems else ""
    items = "".join(f"<li>{escape(problem)}</li>" for problem in result.problems)
    return "\n".join(
        [
            f"<!doctype html><meta charset=utf-8><title>Soak {result.plan.seed}</title><style>{_STYLE}</style>",
            f"<h1>Soak with seed {result.plan.seed}</h1>",
            f'<div class="verdict{bad}">{"Failed" if bad else "Passed"}: {escape(result.summary())}',
            f"<ul>{items}</ul></div>",
            "<h2>Calls a second</h2>",
            plot(_rates(result, seconds), bands, seconds),
            "<h2>Slowest call of each moment, seconds</h2>",
            plot(_slowest(result, seconds), bands, seconds),
            *(
                f"<h2>{title}</h2>{plot(_held(result, what, scale), bands, seconds)}"
                for title, what, scale in (
                    ("Memory, MB", "resident", 1 << 20),
                    ("Descriptors", "descriptors", 1),
                    ("Threads", "threads", 1),
                )
            ),
            "<h2>Shared folder, MB</h2>",
            plot({"in use": [(at, used / (1 << 20)) for at, used in result.disk]}, bands, seconds),
            "<h2>Faults</h2>",
            _faults(result),
            "<h2>Trends over the second half of each long life</h2>",
            _trends(result),
        ]
    )


def _rates(result: Result, seconds: float) -> dict[str, list[tuple[float, float]]]:
    width = seconds / _BUCKETS
    counts: dict[str, Counter[int]] = {"right": Counter(), "repeated or failed": Counter()}
    for call in result.calls:
        bucket = int((call.ended - result.began) / width)
        counts["right" if call.outcome is Outcome.RIGHT and not call.failures else "repeated or failed"][bucket] += 1
    return {name: [(n * width, count[n] / width) for n in range(_BUCKETS)] for name, count in counts.items()}


def _slowest(result: Result, seconds: float) -> dict[str, list[tuple[float, float]]]:
    width = seconds / _BUCKETS
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for call in result.calls:
        bucket = int((call.ended - result.began) / width)
        found[call.kind][bucket] = max(call.seconds, found[call.kind].get(bucket, 0.0))
    kinds = [kind for kind in ("search", "strong", "insert", "delete") if kind in found]
    return {kind: [(n * width, found[kind].get(n, 0.0)) for n in range(_BUCKETS)] for kind in kinds}


def _held(result: Result, what: str, scale: int) -> Mapping[str, Sequence[tuple[float, float]]]:
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for sample in result.samples:
        lines[sample.name].append((sample.at, getattr(sample.usage, what) / scale))
    return lines


def _faults(result: Result) -> str:
    rows = [
        f"<tr{' class=bad' if one.problem else ''}><td>{escape(one.row.name)}</td><td>{one.began / 60:.1f} min</td>"
        f"<td>{one.healed - one.began:.0f} s</td><td>{one.well - one.healed:.1f} s</td><td>{one.right}</td>"
        f"<td>{one.repeated}</td><td>{one.failed}</td></tr>"
        for one in result.struck
    ]
    head = "<tr><th>fault<th>at<th>lasted<th>all well after<th>right<th>repeated<th>failed</tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _trends(result: Result) -> str:
    rows = [f"<tr{'' if one.is_flat else ' class=bad'}><td>{escape(str(one))}</td></tr>" for one in result.trends]
    return f"<table>{''.join(rows) or '<tr><td>no life was long enough</td></tr>'}</table>"
