"""The report as one HTML file without a script: how many goals are met, then each benchmark with bars and curves."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from charts import bar, latency_curves
from goals import Result, with_unit
from results import Report

_TEMPLATE = Path(__file__).with_name("page.html")


def page(reports: Sequence[Report], profiles: Sequence[Path]) -> str:
    """Write the whole page; ``profiles`` are flame graphs beside it."""
    results = [result for report in reports for result in report.results]
    met = sum(result.met for result in results)
    unmeasured = sum(len(report.unmeasured) for report in reports)
    tiles = [_tile("met", met, "goals met"), _tile("missed", len(results) - met, "goals missed")]
    tiles += [_tile("unmeasured", unmeasured, "not measured here")] if unmeasured else []
    setup = reports[-1].setup if reports else {}
    template = Template(_TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(
        tiles="".join(tiles),
        machine=escape(f"{setup.get('processor', '')} · {setup.get('memory', '')} · {setup.get('system', '')}"),
        taken=escape(f"{setup.get('at', '')} · commit {setup.get('commit', '')}"),
        contents="".join(f'<a href="#{report.name}">{escape(report.title)}</a>' for report in reports),
        sections="".join(_section(report) for report in reports),
        profiles=_profiles(profiles),
        versions=escape(f"Python {setup.get('python', '')}, {setup.get('versions', '')}"),
    )


def _tile(kind: str, count: int, text: str) -> str:
    return f'<div class="tile {kind}"><b>{count}</b><span>{text}</span></div>'


def _section(report: Report) -> str:
    parts = [
        f'<section id="{report.name}"><h2>{escape(report.title)}</h2>',
        f'<p class="load">{_circumstances(report)}</p>',
    ]
    if report.stopped:
        parts.append(f'<p class="note">{escape(report.stopped)}</p>')
    parts += [_goal(result) for result in report.results]
    parts += [f'<p class="note">Not measured: {escape(goal.title)}.</p>' for goal in report.unmeasured]
    parts += [f'<p class="note">{escape(note)}</p>' for note in report.notes]
    if report.curves:
        parts.append(latency_curves(report.shares, report.curves))
    if report.figures:
        parts.append(_figures(report))
    return "".join([*parts, "</section>"])


def _circumstances(report: Report) -> str:
    loads = report.setup["load"]
    around = f", load average {min(loads):.1f} to {max(loads):.1f}" if loads else ""
    if loads:
        around += f", others at {max(report.setup['busy']):.0%} of the cores at most when a round began"
    tiny = " <b>Tiny: these figures mean nothing.</b>" if report.tiny else ""
    return f"benchmarks/{report.name}.py, {report.setup['rounds']} rounds in turns{around}.{tiny}"


def _goal(result: Result) -> str:
    goal, verdict = result.goal, "met" if result.met else "missed"
    stretch = f", stretch {with_unit(goal.stretch, goal.unit)}" if goal.stretch is not None else ""
    target = f"{'≤' if goal.comparison == '<=' else '≥'} {with_unit(goal.target, goal.unit)}{stretch}"
    reason = f'<p class="reason">{escape(goal.reason)}</p>' if goal.reason and not result.met else ""
    return (
        f'<div class="goal"><div class="what"><span>{escape(goal.title)}</span>'
        f'<span class="pill {verdict}">{result.verdict}</span></div>{bar(result)}'
        f'<div class="said"><b>{with_unit(result.median, goal.unit)}</b>'
        f"<span>target {target}</span></div>{reason}</div>"
    )


def _figures(report: Report) -> str:
    head = "".join(f"<th>{escape(quantity)}</th>" for quantity in report.quantities)
    rows = []
    for subject, row in report.figures.items():
        cells = [with_unit(row[quantity], "") if quantity in row else "–" for quantity in report.quantities]
        rows.append(f"<tr><th>{escape(subject)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f'<div class="table"><table><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'


_LEFT = {
    "profile-router-one-node": "Three quarters are what arrives: frames and heads, then in two like halves asking the "
    "node and answering the client. No function stands out. Compiled, all of that is some 20 us a search; what is left "
    "besides is the event loop and its sockets, which is about as much again.",
    "profile-router-eight-nodes": "The same, eight times: a frame to each node and one from it, its health, latency "
    "and metrics. What is left is to do less of that for each node.",
    "profile-node": "Half is the search of the index. A sixth is a thread that lets the event loop answer before it "
    "goes on, and a quarter the event loop, which is at work meanwhile where there is a second processor.",
}
"""What is left to gain, by the graph that shows it."""


def _profiles(profiles: Sequence[Path]) -> str:
    if not profiles:
        return ""
    links = "".join(
        f'<a class="flame" href="{path.name}"><img src="{path.name}" alt="" loading="lazy">'
        f"<span>{escape(path.stem.replace('-', ' '))}, of the source. {escape(_LEFT.get(path.stem, ''))}</span></a>"
        for path in profiles
    )
    return f'<section id="profiles"><h2>Where the time goes</h2><div class="flames">{links}</div></section>'
