"""The chart, rendered by the real helm: valid manifests, settings that exist, selectors that find what they are for."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.deployed import DEPLOY, check_environment, image_environment
from harness.tools import developer_tool
from milvus_node.config import NodeOptions

CHART = DEPLOY / "helm" / "mishards"
VERSIONS = ("1.29.0", "1.25.0")
VARIANTS: dict[str, tuple[str, ...]] = {
    "default": ("metadata.uri=mysql://milvus:secret@mysql:3306/milvus",),
    "existing": (
        "metadata.existingSecret=database,storage.existingClaim=segments,networkPolicy.clients[0].podSelector.matchLabels.app=shop",
        "router.autoscaling.enabled=false,router.env.MISHARDS_LOG_FORMAT=json,readonly.env.MILVUS_NODE_LOG_FORMAT=json",
    ),
    "database": (
        "metadata.uri=mysql://milvus:secret@mysql:3306/milvus,election.uri=database,networkPolicy.enabled=false",
    ),
}
each_variant = pytest.mark.parametrize("variant", VARIANTS)

Manifest = dict[str, Any]


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([developer_tool("helm"), *arguments], capture_output=True, text=True, check=False, timeout=60)


@cache
def rendered(variant: str, version: str = VERSIONS[0]) -> str:
    given = [word for values in VARIANTS[variant] for word in ("--set", values)]
    done = helm("template", "demo", CHART, "--namespace", "search", "--kube-version", version, *given)
    assert done.returncode == 0, done.stderr
    return done.stdout


def manifests(variant: str) -> dict[tuple[str, str], Manifest]:
    found = [each for each in yaml.safe_load_all(rendered(variant)) if each]
    named = {(each["kind"], each["metadata"]["name"]): each for each in found}
    assert len(named) == len(found), "two manifests of one kind have the same name"
    return named


def workloads(variant: str) -> dict[str, Manifest]:
    return {name: each for (kind, name), each in manifests(variant).items() if kind in ("Deployment", "StatefulSet")}


def test_helm_lints_the_chart() -> None:
    done = helm("lint", "--strict", CHART, "--set", VARIANTS["default"][0])
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_release_without_a_database_is_refused_with_words() -> None:
    done = helm("template", "demo", CHART, "--kube-version", VERSIONS[0])
    assert done.returncode != 0
    assert "metadata.uri or metadata.existingSecret has to be given" in done.stderr


@pytest.mark.parametrize(
    ("variant", "version"), [*((variant, VERSIONS[0]) for variant in VARIANTS), ("default", VERSIONS[1])]
)
def test_every_manifest_follows_the_schema_of_kubernetes(variant: str, version: str, tmp_path: Path) -> None:
    file = tmp_path / "manifests.yaml"
    file.write_text(rendered(variant, version), encoding="utf-8")
    tool = Path(sys.executable).with_name("kubernetes-validate")
    command = [tool, "--strict", "--kubernetes-version", version.rpartition(".")[0], file]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@each_variant
def test_every_variable_of_a_container_is_a_setting_with_a_fit_value(variant: str) -> None:
    for name, workload in workloads(variant).items():
        container = workload["spec"]["template"]["spec"]["containers"][0]
        environment = {each["name"]: _value(each) for each in container["env"]}
        options = check_environment({**image_environment(container["name"]), **environment})
        assert isinstance(options, NodeOptions) == (container["name"] == "node")
        if isinstance(options, NodeOptions):
            assert name == f"demo-{options.role.value}"
            segments = next(mount for mount in container["volumeMounts"] if mount["name"] == "segments")
            assert segments == {
                "name": "segments",
                "mountPath": str(options.storage.path),
                "readOnly": options.role.value == "readonly",
            }
            limit = container["resources"]["limits"]["memory"]
            assert options.cache.cache_size_bytes < int(limit.removesuffix("Gi")) << 30


def _value(variable: Manifest) -> str:
    if "value" in variable:
        given: str = variable["value"]
        return given
    source = variable["valueFrom"]
    if "secretKeyRef" in source:
        return "mysql://milvus:secret@mysql:3306/milvus"
    return {"metadata.name": "pod-0", "status.podIP": "10.1.2.3"}[source["fieldRef"]["fieldPath"]]


@each_variant
def test_every_selector_finds_the_pods_that_it_is_for(variant: str) -> None:
    labels = {name: each["spec"]["template"]["metadata"]["labels"] for name, each in workloads(variant).items()}
    nodes = {"demo-writable", "demo-readonly"}
    selecting = {"Service", "PodDisruptionBudget", "NetworkPolicy", "Deployment", "StatefulSet"}
    for (kind, name), each in manifests(variant).items():
        if kind in selecting:
            spec = each["spec"]
            wanted = spec.get("podSelector") or spec["selector"]
            wanted = wanted.get("matchLabels", wanted)
            found = {workload for workload, have in labels.items() if wanted.items() <= have.items()}
            meant = {"demo": {"demo-router"}, "demo-nodes": nodes, "demo-node": nodes}.get(name, {name})
            assert found == meant, (kind, name)


@each_variant
def test_each_program_has_the_rights_that_it_uses_and_no_others(variant: str) -> None:
    found = manifests(variant)
    for workload in workloads(variant).values():
        account = workload["spec"]["template"]["spec"]["serviceAccountName"]
        assert ("ServiceAccount", account) in found
        assert found["RoleBinding", account]["subjects"][0]["name"] == account

    def rights(component: str) -> dict[str, list[str]]:
        rules = found["Role", f"demo-{component}"]["rules"]
        return {rule["resources"][0]: rule["verbs"] for rule in rules}

    assert rights("router") == {"pods": ["list", "watch"], "endpointslices": ["list", "watch"]}
    leases = {} if variant == "database" else {"leases": ["get", "create", "update"]}
    assert rights("node") == {"pods": ["list", "patch"], **leases}


def test_what_must_survive_an_upgrade_and_a_drained_machine_is_there() -> None:
    found = manifests("default")
    for name in ("router", "writable", "readonly"):
        assert found["PodDisruptionBudget", f"demo-{name}"]["spec"]["maxUnavailable"] == 1
    scaled = found["HorizontalPodAutoscaler", "demo-router"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == "demo-router"
    assert "replicas" not in found["Deployment", "demo-router"]["spec"]  # the autoscaler's to say
    claim = found["PersistentVolumeClaim", "demo-segments"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    for workload in workloads("default").values():
        container = workload["spec"]["template"]["spec"]["containers"][0]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert workload["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
