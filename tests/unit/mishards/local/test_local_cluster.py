"""Which processes make a cluster."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mishards.local.cluster import ClusterOptions, ProcessSpec, processes

FOLDER = Path("/data/a cluster")


def arguments_of(spec: ProcessSpec) -> dict[str, str]:
    command = spec.command(spec.address)
    flags = command[command.index("serve") + 1 :]
    return dict(zip(flags[::2], flags[1::2], strict=True))


def by_name(options: ClusterOptions) -> dict[str, ProcessSpec]:
    return {spec.name: spec for spec in processes(options)}


def test_of_several_writable_nodes_the_first_keeps_its_name() -> None:
    names = [spec.name for spec in processes(ClusterOptions(Path("/data"), writable=3, readonly=0))]
    assert names == ["writable", "writable-2", "writable-3", "router-1"]


def test_the_default_is_one_writable_node_two_read_only_nodes_and_one_router_in_the_order_of_their_start() -> None:
    specs = processes(ClusterOptions(FOLDER))

    assert [(spec.name, spec.role) for spec in specs] == [
        ("writable", "writable"),
        ("readonly-1", "readonly"),
        ("readonly-2", "readonly"),
        ("router-1", "router"),
    ]


def test_a_cluster_may_have_no_read_only_node_and_many_routers() -> None:
    names = list(by_name(ClusterOptions(FOLDER, readonly=0, routers=3)))

    assert names == ["writable", "router-1", "router-2", "router-3"]


def test_only_the_first_router_listens_on_the_ports_asked_for() -> None:
    specs = processes(ClusterOptions(FOLDER, port=1111, http_port=2222, routers=2))

    addresses = {spec.name: (spec.address, spec.http_address) for spec in specs}
    assert addresses.pop("router-1") == ("127.0.0.1:1111", "127.0.0.1:2222")
    assert set(addresses.values()) == {("127.0.0.1:0", "127.0.0.1:0")}


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("router-1", ("mishards", "serve")),
        ("writable", ("milvus_node", "serve", "--role", "writable")),
        ("readonly-2", ("milvus_node", "serve", "--role", "readonly")),
    ],
)
def test_each_process_runs_on_the_interpreter_of_its_starter(name: str, program: tuple[str, ...]) -> None:
    python, *flags = by_name(ClusterOptions(FOLDER))[name].program

    assert python == sys.executable
    assert flags[flags.index("-m") + 1 :] == list(program)


def test_all_processes_share_metadata_and_discovery_and_the_nodes_share_storage() -> None:
    specs = processes(ClusterOptions(FOLDER, log_level="debug"))

    for spec in specs:
        given = arguments_of(spec)
        assert given["--metadata"] == "sqlite:////data/a cluster/metadata/meta.sqlite"
        assert given["--discovery"] == "file:///data/a%20cluster/discovery"
        assert given["--log-level"] == "debug"
        assert given["--name"] == spec.name
        assert given.get("--storage") == (None if spec.role == "router" else "/data/a cluster/storage")


def test_metadata_and_discovery_of_the_users_own_replace_those_in_the_folder() -> None:
    options = ClusterOptions(FOLDER, metadata="mysql://me:pw@host/db", discovery="zookeeper://host/mishards")

    for spec in processes(options):
        assert arguments_of(spec)["--metadata"] == "mysql://me:pw@host/db"
        assert arguments_of(spec)["--discovery"] == "zookeeper://host/mishards"
    assert [path.name for path in options.folders] == ["logs", "storage"]
    assert [path.name for path in ClusterOptions(FOLDER).folders] == ["logs", "storage", "metadata", "discovery"]


def test_a_process_can_be_told_another_address_than_the_one_it_had_at_first() -> None:
    spec = by_name(ClusterOptions(FOLDER))["readonly-1"]

    command = spec.command("127.0.0.1:4711")
    assert command[command.index("--address") + 1] == "127.0.0.1:4711"
