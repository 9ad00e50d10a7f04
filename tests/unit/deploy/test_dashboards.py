"""The dashboards are complete and well laid out, and the alerts do what their own tests say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.prometheus import Prometheus, promtool
from milvus_node.metrics import declarations as node_metrics
from mishards.metrics import router as router_metrics

ROOT = Path(__file__).resolve().parents[3]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
COLUMNS = 24


def model(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_asks_for_its_data_source_and_explains_every_panel(path: Path) -> None:
    dashboard = model(path)
    assert dashboard["uid"] == f"mishards-{path.stem}"
    assert dashboard["templating"]["list"][0] == {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
    }
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            continue
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_no_panel_lies_over_another_or_outside(path: Path) -> None:
    panels = model(path)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < COLUMNS
        taken |= cells


def test_every_metric_is_on_a_dashboard() -> None:
    shown = {
        re.sub(r"_bucket$", "", name)
        for path in DASHBOARDS
        for name in re.findall(r"\b(?:mishards|milvus_node)_\w+", path.read_text(encoding="utf-8"))
    }
    assert {metric.name for metric in (*router_metrics.ALL, *node_metrics.ALL)} - shown == set()


@pytest.mark.skipif(bool(Prometheus.missing()), reason=Prometheus.missing())
@pytest.mark.parametrize(
    "check",
    [
        ("check", "config", PROMETHEUS / "prometheus.yml"),
        ("check", "rules", PROMETHEUS / "alerts.yml"),
        ("test", "rules", PROMETHEUS / "alerts_test.yml"),
    ],
    ids=lambda check: " ".join(map(str, check[:2])),
)
def test_promtool_finds_no_fault(check: tuple[str | Path, ...]) -> None:
    done = promtool(*check)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    alerts = re.findall(r"- alert: (\w+)", (PROMETHEUS / "alerts.yml").read_text(encoding="utf-8"))
    tested = re.findall(r"- name: (\w+)", (PROMETHEUS / "alerts_test.yml").read_text(encoding="utf-8"))
    assert sorted(alerts) == sorted(tested)


def test_every_metric_is_described() -> None:
    described = (PROMETHEUS / "README.md").read_text(encoding="utf-8").splitlines()
    for metric in (*router_metrics.ALL, *node_metrics.ALL):
        line = f"| `{metric.name}` | {metric.kind.value} | {', '.join(metric.labels)} | {metric.help} |"
        assert line in described, f"deploy/prometheus/README.md should have the line {line}"
