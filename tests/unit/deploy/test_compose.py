"""The Compose file is valid, is the whole picture, and gives the programs settings that they have."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.deployed import DEPLOY, check_environment, image_environment
from milvus_node.config import NodeOptions
from milvus_node.roles import Role

COMPOSE = DEPLOY / "compose"
PROGRAMS = {
    "router": ["router-1", "router-2"],
    "node": [f"writable-{n}" for n in (1, 2)] + [f"readonly-{n}" for n in (1, 2, 3)],
}
VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-?])([^}]*))?\}")


def example() -> dict[str, str]:
    lines = (COMPOSE / "env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def filled_in(text: str) -> str:
    """The file as Compose reads it beside the example of its settings."""
    given = example()

    def value(found: re.Match[str]) -> str:
        name, kind, default = found.groups()
        assert name in given, f"env.example does not have {name}"
        return given.get(name, default if kind == ":-" else "")

    return VARIABLE.sub(value, text)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(filled_in((COMPOSE / "compose.yaml").read_text(encoding="utf-8")))
    return read


def test_both_files_follow_the_specification_of_compose() -> None:
    files = [COMPOSE / name for name in ("compose.yaml", "local-folder.yaml")]
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_whole_picture_is_there(compose: dict[str, Any]) -> None:
    others = ["nginx", "mysql", "jaeger", "prometheus", "grafana", *(f"zookeeper-{n}" for n in (1, 2, 3))]
    assert sorted(compose["services"]) == sorted([*others, *(name for names in PROGRAMS.values() for name in names)])


@pytest.mark.parametrize(
    ("program", "service"), [(program, name) for program in PROGRAMS for name in PROGRAMS[program]]
)
def test_every_variable_of_a_service_is_a_setting_with_a_fit_value(
    compose: dict[str, Any], program: str, service: str
) -> None:
    described = compose["services"][service]
    assert described["build"]["dockerfile"] == f"deploy/docker/{program}.Dockerfile"
    options = check_environment({**image_environment(program), **described["environment"]})
    if isinstance(options, NodeOptions):
        assert options.name == service == described["hostname"]
        assert options.announce.address == f"{service}:19530"
        assert options.role.value == service.partition("-")[0]
        mode = ":ro" if options.role is Role.READONLY else ""
        assert described["volumes"] == [f"shared:{options.storage.path}{mode}"]


def test_routers_and_nodes_look_in_the_same_places(compose: dict[str, Any]) -> None:
    router = compose["services"]["router-1"]["environment"]
    for name in PROGRAMS["node"]:
        node = compose["services"][name]["environment"]
        assert node["MILVUS_NODE_METADATA"] == router["MISHARDS_METADATA_URI"]
        assert node["MILVUS_NODE_DISCOVERY"] == router["MISHARDS_DISCOVERY_URI"]


def test_what_is_mounted_and_waited_for_exists(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (COMPOSE / source).exists() if source.startswith(".") else source in compose["volumes"], (
                name,
                volume,
            )
        for needed in service.get("depends_on", {}):
            has_image_check = needed.startswith(("router-", *PROGRAMS["node"]))
            assert has_image_check or "healthcheck" in compose["services"][needed], (name, needed)


@pytest.mark.parametrize("path", ["nginx/nginx.conf", "haproxy/haproxy.cfg"], ids=lambda path: Path(path).stem)
def test_balancers_go_to_the_routers_of_the_picture(path: str) -> None:
    found = re.findall(r"^ *server (?:\S+ )?(\S+):19530", (DEPLOY / path).read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(set(found)) == PROGRAMS["router"]


def test_prometheus_scrapes_every_program_of_the_picture() -> None:
    read = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    targets = [
        target for job in read["scrape_configs"] for entry in job["static_configs"] for target in entry["targets"]
    ]
    assert sorted(targets) == sorted(f"{name}:19121" for names in PROGRAMS.values() for name in names)
