"""A private Prometheus, and its tool that checks metrics and rules."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from harness.ports import free_port
from harness.processes import Program, find_program

_HTTP_OK = 200


def promtool(*arguments: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run promtool, with ``text`` on its standard input."""
    command = [find_program("promtool") or "promtool", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)


class Prometheus(Program):
    """A server that scrapes every second."""

    def __init__(self, folder: Path, jobs: Mapping[str, Sequence[str]], rules: Path | None = None) -> None:
        """Describe a server that keeps its data in ``folder``; ``jobs`` are its targets, by the name of the job."""
        self.address = f"127.0.0.1:{free_port()}"
        self._http = httpx.Client(base_url=f"http://{self.address}", timeout=10)
        self._configuration = folder / "prometheus.yml"
        self.configure(
            json.dumps(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(rules)] if rules else [],
                    "scrape_configs": [
                        {"job_name": name, "static_configs": [{"targets": list(targets)}]}
                        for name, targets in jobs.items()
                    ],
                }
            )
        )
        command = [
            find_program("prometheus") or "prometheus",
            f"--config.file={self._configuration}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address={self.address}",
        ]
        super().__init__("prometheus", command, folder)

    @staticmethod
    def missing() -> str:
        """Return what is not installed, or nothing."""
        both = find_program("prometheus") and find_program("promtool")
        return "" if both else "Prometheus is not installed (Debian: prometheus)"

    def configure(self, text: str) -> None:
        """Have it start with another configuration."""
        self._configuration.write_text(text, encoding="utf-8")

    def launch(self) -> None:
        """Start it and wait until it says that it is ready."""
        self.start(self.ready)

    def close(self) -> None:
        """End it."""
        self._http.close()
        super().close()

    def ready(self) -> bool:
        """Does it serve?"""
        try:
            return self._http.get("/-/ready").status_code == _HTTP_OK
        except httpx.TransportError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now.

        Raises:
            AssertionError: Prometheus refuses it.
        """
        answer = self._http.get("/api/v1/query", params={"query": expression}).json()
        if answer["status"] != "success":
            raise AssertionError(f"{expression}: {answer['error']}")
        data = answer["data"]
        return [data] if data["resultType"] == "scalar" else list(data["result"])

    def value(self, expression: str) -> float | None:
        """The one value of an expression; None where it has none now."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None

    def alerts(self) -> dict[str, set[str]]:
        """The states of the alerts that are pending or firing, by name."""
        found: dict[str, set[str]] = {}
        answer = self._http.get("/api/v1/alerts").json()
        for alert in answer["data"]["alerts"]:
            found.setdefault(alert["labels"]["alertname"], set()).add(alert["state"])
        return found
