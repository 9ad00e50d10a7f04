"""The page on which all rows are shown: figures, a table, and a timeline for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

from faults.fault_plot import timeline
from faults.fault_record import Record, happened

from harness.resources import Usage
from harness.traffic import READS, Call, Outcome

_PAGE = Path(__file__).with_name("fault_page.html")


def write_report(records: Sequence[Record], folder: Path, made: str = "") -> Path:
    """Write ``index.html`` and return its path."""
    page = folder / "index.html"
    page.write_text(html(records, made), encoding="utf-8")
    return page


def html(records: Sequence[Record], made: str) -> str:
    """The page as text; ``made`` says when and on what."""
    performed = [record for record in records if not record.skipped]
    well = sum(not record.problems for record in performed)
    verdict = f"{well} of {len(performed)} faults survived"
    if len(performed) < len(records):
        verdict += f", {len(records) - len(performed)} could not be brought here"
    return Template(_PAGE.read_text(encoding="utf-8")).substitute(
        verdict=verdict,
        made=escape(made),
        figures=_figures(performed),
        rows="".join(map(_row, records)),
        cards="".join(map(_card, performed)),
    )


def _figures(records: Sequence[Record]) -> str:
    calls = [call for record in records for call in record.calls]
    wrong = sum(call.outcome in (Outcome.WRONG, Outcome.ODD) for call in calls)
    during = [call for record in records for call in _during(record) if call.kind in READS]
    right = sum(call.outcome is Outcome.RIGHT for call in during)
    well = sum(not record.problems for record in records)
    figures = [
        (f"{well}/{len(records)}", "faults survived", well == len(records)),
        (f"{wrong}", "wrong answers", not wrong),
        (f"{len(calls):,}", "calls, each checked", None),
        (f"{right / (len(during) or 1):.3%}", "of searches answered while faults lasted", None),
        (_seconds(max((record.outage for record in records), default=0)), "longest time without an answer", None),
    ]
    return "".join(
        f'<div class="figure {"" if good is None else "good" if good else "poor"}"><b>{value}</b>{text}</div>'
        for value, text, good in figures
    )


def _row(record: Record) -> str:
    link = f'<a href="#row-{record.number}">{escape(record.name)}</a>'
    begin = f'<td>{record.number}</td><td class="left">{link}</td><td class="left">{_pill(record)}</td>'
    if record.skipped:
        return f'<tr>{begin}<td class="left quiet" colspan="10">{escape(record.skipped)}</td></tr>'
    during = _during(record)
    cells = [
        len(during),
        sum(call.outcome is not Outcome.RIGHT for call in during),
        sum(bool(call.failures) for call in during),
        _seconds(record.outage),
        *(_latencies(calls) for calls in (_before(record), during, _after(record))),
        *(_change(record, held) for held in (_threads, _descriptors, _megabytes)),
    ]
    return f"<tr>{begin}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _card(record: Record) -> str:
    during = _during(record)
    failed = sum(call.outcome is not Outcome.RIGHT for call in during)
    facts = [
        (_seconds(record.healing), "lasted"),
        (_seconds(record.recovered - record.healing), "until all was back"),
        (f"{len(record.calls):,}", "calls in all"),
        (f"{failed} of {len(during):,}", "failed meanwhile"),
        (_seconds(record.outage), "longest time without an answered search"),
    ]
    shown = "".join(f"<span><b>{value}</b> {text}</span>" for value, text in facts)
    return (
        f'<section class="card" id="row-{record.number}"><div class="top"><span class="number">{record.number}</span>'
        f'<h2>{escape(record.name)}</h2><span class="quiet">{escape(record.how)}</span>{_pill(record)}</div>'
        f'{timeline(record)}<div class="facts">{shown}</div>'
        f"{_list(record.problems)}{_errors(during)}{_resources(record)}</section>"
    )


def _pill(record: Record) -> str:
    kind = "skipped" if record.skipped else "bad" if record.problems else "well"
    return f'<span class="pill {kind}">{kind}</span>'


def _list(problems: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(text[:600])}</li>' for text in problems)}</ul>" if problems else ""


def _errors(calls: Sequence[Call]) -> str:
    counts: dict[str, int] = {}
    for call in calls:
        if call.outcome is Outcome.FAILED or call.failures:
            again = " (and answered when repeated)" if call.outcome is Outcome.RIGHT else ""
            text = f"{call.kind}: {call.detail[:160]}{again}"
            counts[text] = counts.get(text, 0) + 1
    most = sorted(counts.items(), key=lambda item: -item[1])[:5]
    lines = "".join(f'<tr><td>{times}</td><td class="left">{escape(text)}</td></tr>' for text, times in most)
    return f"<details><summary>declared errors</summary><table>{lines}</table></details>" if lines else ""


def _resources(record: Record) -> str:
    lines = "".join(
        f'<tr><td class="left">{escape(name)}</td>'
        + "".join(f"<td>{held(was)} → {held(record.after[name])}</td>" for held in (_threads, _descriptors, _megabytes))
        + "</tr>"
        for name, was in sorted(record.before.items())
        if name in record.after
    )
    head = '<tr><th class="left">program</th><th>threads</th><th>descriptors</th><th>MB</th></tr>'
    return (
        f"<details><summary>what each program holds, before and after</summary><table>{head}{lines}</table></details>"
    )


def _before(record: Record) -> list[Call]:
    return happened(record, -math.inf, 0)


def _during(record: Record) -> list[Call]:
    return happened(record, 0, record.healing)


def _after(record: Record) -> list[Call]:
    return happened(record, record.recovered, math.inf)


def _latencies(calls: Sequence[Call]) -> str:
    taken = sorted(call.seconds * 1000 for call in calls if call.kind in READS and call.outcome is Outcome.RIGHT)
    if not taken:
        return "–"
    return f"{taken[len(taken) // 2]:.0f} / {taken[min(len(taken) - 1, int(len(taken) * 0.99))]:,.0f}"


def _change(record: Record, held: Callable[[Usage], int]) -> str:
    both = record.before.keys() & record.after.keys()
    return "→".join(f"{_total(usages, both, held):,}" for usages in (record.before, record.after))


def _total(usages: Mapping[str, Usage], names: set[str], held: Callable[[Usage], int]) -> int:
    return sum(held(usages[name]) for name in names)


def _threads(usage: Usage) -> int:
    return usage.threads


def _descriptors(usage: Usage) -> int:
    return usage.descriptors


def _megabytes(usage: Usage) -> int:
    return usage.resident >> 20


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"
