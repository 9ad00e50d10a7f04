"""A real Prometheus scrapes a real cluster: the numbers add up, dashboards and alerts work, and one alert fires."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from harness.fleet import NAME, QUERIES, Fleet
from harness.milvus1.client import search_param
from harness.processes import Program
from harness.prometheus import Prometheus, promtool
from harness.waiting import eventually
from milvus_node.metrics import declarations as node_metrics
from mishards.metrics import router as router_metrics
from mishards.metrics.declare import Kind
from mishards.wire.protos import milvus_pb2 as pb

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"

DECLARED = {metric.name: metric for metric in (*router_metrics.ALL, *node_metrics.ALL)}
SERIES = {
    *("up", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"),
    *(name for name, metric in DECLARED.items() if metric.kind is not Kind.HISTOGRAM),
    *(
        f"{name}_{part}"
        for name, m in DECLARED.items()
        if m.kind is Kind.HISTOGRAM
        for part in ("bucket", "sum", "count")
    ),
}
NAMES = re.compile(r"\b(?:mishards|milvus_node|process)_\w+")
SEARCHES = 40
DEADLINE_S = 30


@dataclass
class Watched:
    fleet: Fleet
    prometheus: Prometheus


def http_address(program: Program) -> str:
    return program.command[program.command.index("--http-address") + 1]


def expressions_of(dashboard: Path) -> list[str]:
    panels = json.loads(dashboard.read_text(encoding="utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def alert_rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def impatient(folder: Path) -> Path:
    """The alerts, none of which waits longer than a second."""
    rules = yaml.safe_load(ALERTS.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["for"] = "1s"
    path = folder / "alerts.yml"
    path.write_text(json.dumps(rules), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    if missing := Prometheus.missing():
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("watched")
    with Fleet(folder, "ours", readers=2) as fleet:
        second = fleet.add_router("router-2")
        fleet.fill(segments=4, rows=20)
        routers = [fleet.router, second]
        jobs = {
            "mishards-router": [http_address(router) for router in routers],
            "milvus-node": [http_address(each) for each in (fleet.writable, *(r.program for r in fleet.readers))],
        }
        with Prometheus(folder, jobs, impatient(folder)) as prometheus:
            prometheus.launch()
            clients = [fleet.client_of(router.address) for router in routers]
            for number in range(SEARCHES):
                assert not clients[number % 2].search(NAME, QUERIES, 5).code
            eventually(
                lambda: prometheus.value("sum(mishards_requests_total{method='Search'})") == SEARCHES,
                DEADLINE_S,
                "the searches of both routers are scraped",
            )
            # Rates need two scrapes of a series.
            eventually(
                lambda: prometheus.value("min(count_over_time(mishards_requests_total{method='Search'}[1m]))") >= 2,
                DEADLINE_S,
                "they are scraped twice",
            )
            yield Watched(fleet, prometheus)


def test_the_routers_of_one_host_add_up(watched: Watched) -> None:
    query = watched.prometheus.value
    assert query('sum(mishards_requests_total{method="Search", code="SUCCESS"})') == SEARCHES
    assert query('count(mishards_requests_total{method="Search"} == 20)') == 2
    assert query("sum(mishards_search_stage_duration_seconds_count{stage='do_merge'})") == SEARCHES
    asked = query("sum(mishards_node_call_duration_seconds_count{method='SearchInFiles'})")
    assert asked == query("sum(milvus_node_requests_total{method='SearchInFiles'})")
    assert query("max(mishards_segments)") == query("sum(max by (node) (mishards_node_segments))") == 4


def test_what_is_scraped_is_what_is_declared_and_promtool_finds_no_fault(watched: Watched) -> None:
    fleet = watched.fleet
    seen = set()
    for program in (fleet.router, fleet.writable, fleet.readers[0].program):
        text = httpx.get(f"http://{http_address(program)}/metrics", timeout=10).text
        checked = promtool("check", "metrics", text=text)
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
        found = dict(re.findall(r"^# TYPE ((?:mishards|milvus_node)_\w+) (\w+)$", text, re.MULTILINE))
        assert {name: DECLARED[name].kind.value for name in found} == found
        seen |= found.keys()
    assert seen == DECLARED.keys()


def test_the_clients_id_is_in_the_logs_of_the_nodes_and_in_the_reply(watched: Watched) -> None:
    fleet = watched.fleet
    call = fleet.client.begin(
        "Search", search_param(NAME, QUERIES, 5), pb.TopKQueryResult, metadata=[("x-request-id", "ours/7")]
    )
    assert not call.result().status.error_code
    told = dict(call.initial_metadata())
    assert told["x-request-id"] == told["request_id"] == "ours/7"
    logs = [reader.program.log_text() for reader in fleet.readers]
    assert any("method=SearchInFiles request_id=ours/7 " in log for log in logs)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_every_expression_of_a_dashboard_shows_something(watched: Watched, dashboard: Path) -> None:
    for expression in expressions_of(dashboard):
        assert set(NAMES.findall(expression)) <= SERIES, expression
        asked = expression.replace("$__rate_interval", "1m").replace("$instance", ".*")
        eventually(lambda asked=asked: watched.prometheus.query(asked), DEADLINE_S, f"there is data for {asked}")


@pytest.mark.parametrize("rule", alert_rules(), ids=lambda rule: str(rule["alert"]))
def test_every_alert_can_be_evaluated_and_is_about_what_exists(watched: Watched, rule: dict[str, Any]) -> None:
    names = set(NAMES.findall(rule["expr"]))
    assert names <= SERIES
    assert names or "up{" in rule["expr"]
    watched.prometheus.query(rule["expr"])


def test_a_node_that_is_killed_fires_an_alert(watched: Watched) -> None:
    fleet, prometheus = watched.fleet, watched.prometheus
    assert "NodeDown" not in prometheus.alerts()
    fleet.readers[0].program.kill()
    eventually(
        lambda: "firing" in prometheus.alerts().get("NodeDown", ()),
        60,
        lambda: f"NodeDown fires: {prometheus.alerts()}",
    )
    assert prometheus.value("sum(mishards_replica_deficit)") is not None
    fleet.readers[0].program.launch()
    eventually(lambda: "NodeDown" not in prometheus.alerts(), 60, lambda: f"it is over: {prometheus.alerts()}")
