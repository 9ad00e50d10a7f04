"""The server over HTTP: state, commands, tasks and settings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.message import Message

from mishards.errors import CommandError
from mishards.wire.protos import milvus_pb2 as pb

CONFIG = {
    "version": "0.5",
    "cache": {"cache_size": "4GB", "cache_insert_data": "false"},
    "engine_config": {"use_blas_threshold": "1100"},
    "network": {"bind.address": "127.0.0.1"},
}


async def test_the_state_is_said_without_a_call(api: Any) -> None:
    assert await api.get("/state") == {"message": "Success", "code": 0}
    assert (await api.send("GET", "/")).text.startswith("Mishards")
    assert api.calls == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/system/version", "version"),
        ("/system/info", "get_system_info"),
        ("/system/tasktable", "tasktable"),
        ("/system/get_config%20cache.cache_size", "get_config cache.cache_size"),
    ],
)
async def test_a_command_is_passed_on_and_its_reply_handed_back(api: Any, path: str, text: str) -> None:
    api.cmd[text] = 'what "it" says'
    assert await api.get(path) == {"message": "OK", "code": 0, "reply": 'what "it" says'}
    assert api.requests() == [("Cmd", pb.Command(cmd=text))]


async def test_a_get_changes_no_setting(api: Any) -> None:
    response = await api.send("GET", "/system/set_config%20cache.cache_size%202GB")
    assert response.status_code == 400
    assert "PUT /system/config" in response.json()["message"]
    assert api.calls == []


async def test_the_memory_of_the_machine_is_told_in_gigabytes(api: Any) -> None:
    api.cmd["get_system_info"] = json.dumps({"memory_total": str(25 * 2**30 + 5), "memory_used": "1"})
    assert await api.get("/devices") == {"cpu": {"memory": 25}, "gpus": {}}


LOAD = pb.PreloadCollectionParam(collection_name="c", partition_tag_array=["p", "q"])


@pytest.mark.parametrize(
    ("task", "call", "request_message"),
    [
        ({"load": {"collection_name": "c", "partition_tags": ["p", "q"]}}, "PreloadCollection", LOAD),
        ({"load": {"collection_name": "c"}}, "PreloadCollection", pb.PreloadCollectionParam(collection_name="c")),
        ({"release": {"collection_name": "c", "partition_tags": ["p", "q"]}}, "ReleaseCollection", LOAD),
        ({"flush": {"collection_names": ["a", "b"]}}, "Flush", pb.FlushParam(collection_name_array=["a", "b"])),
        ({"flush": {"collection_names": []}}, "Flush", pb.FlushParam()),
        ({"compact": {"collection_name": "c"}}, "Compact", pb.CollectionName(collection_name="c")),
    ],
)
async def test_a_task_is_one_call(api: Any, task: object, call: str, request_message: Message) -> None:
    response = await api.send("PUT", "/system/task", json=task)
    assert (response.status_code, response.json()) == (200, {"message": "OK", "code": 0})
    assert api.requests() == [(call, request_message)]


async def test_every_setting_is_shown_by_group(api: Any) -> None:
    api.cmd["get_config *"] = json.dumps(CONFIG)
    assert await api.get("/system/config") == {**CONFIG, "restart_required": False}


async def test_whether_a_restart_is_needed_may_come_from_the_settings(api: Any) -> None:
    api.cmd["get_config *"] = json.dumps({**CONFIG, "restart_required": True})
    assert (await api.get("/system/config"))["restart_required"] is True


@pytest.mark.parametrize("path", ["/system/config", "/config/advanced", "/devices"])
async def test_a_server_that_keeps_no_settings_is_an_error(api: Any, path: str) -> None:
    response = await api.send("GET", path)
    assert (response.status_code, response.json()["code"]) == (400, 1)
    assert "Unknown command" in response.json()["message"]


@pytest.mark.parametrize(
    ("body", "commands", "restart"),
    [
        ({"cache": {"cache_size": "2GB"}}, ["set_config cache.cache_size 2GB"], False),
        ({"cache": {"cache_insert_data": True}}, ["set_config cache.cache_insert_data true"], False),
        ({"cache": {"preload_collection": ""}}, ["set_config cache.preload_collection "], False),
        (
            {"engine_config": {"use_blas_threshold": 5}, "logs": {"level": "info", "path": "/l"}},
            [
                "set_config engine_config.use_blas_threshold 5",
                "set_config logs.level info",
                "set_config logs.path /l",
            ],
            True,
        ),
    ],
)
async def test_settings_are_changed_one_by_one(api: Any, body: object, commands: list[str], restart: bool) -> None:
    response = await api.send("PUT", "/system/config", json=body)
    assert (response.status_code, response.json()) == (200, {"message": "OK", "code": 0, "restart_required": restart})
    assert api.requests() == [("Cmd", pb.Command(cmd=text)) for text in commands]


async def test_the_first_setting_that_cannot_be_ends_the_change(api: Any) -> None:
    api.cmd["set_config a.b 1"] = CommandError("Config node invalid: a.b")
    response = await api.send("PUT", "/system/config", json={"a": {"b": 1, "c": 2}})
    assert (response.status_code, response.json()) == (400, {"message": "Config node invalid: a.b", "code": 1})
    assert len(api.calls) == 1


@pytest.mark.parametrize("body", [{}, {"cache": 1}, {"cache": {}}, {"cache": {"cache_size": None}}, {"a": {"b": []}}])
async def test_a_change_of_nothing_or_to_nothing_is_refused_whole(api: Any, body: object) -> None:
    response = await api.send("PUT", "/system/config", json=body)
    assert (response.status_code, response.json()["code"]) == (400, 35)
    assert api.calls == []


@pytest.mark.parametrize(
    ("size", "gigabytes"), [("4GB", 4), ("4 gb", 4), ("512MB", 0.5), ("2147483648", 2), ("1024M", 1), ("3G", 3)]
)
async def test_the_advanced_settings_are_numbers_and_truths(api: Any, size: str, gigabytes: float) -> None:
    config = {**CONFIG, "cache": {"cache_size": size, "cache_insert_data": "on"}}
    api.cmd["get_config *"] = json.dumps(config)
    expected = {"cpu_cache_capacity": gigabytes, "cache_insert_data": True, "use_blas_threshold": 1100}
    assert await api.get("/config/advanced") == expected


async def test_the_advanced_settings_are_changed_under_their_own_names(api: Any) -> None:
    body = {"cpu_cache_capacity": 2, "cache_insert_data": False, "use_blas_threshold": 5, "gpu_search_threshold": 6}
    response = await api.send("PUT", "/config/advanced", json=body)
    assert (response.status_code, response.json()) == (200, {"message": "OK", "code": 0})
    assert [request.cmd for _, request in api.requests()] == [
        "set_config cache.cache_size 2GB",
        "set_config cache.cache_insert_data false",
        "set_config engine_config.use_blas_threshold 5",
        "set_config gpu.gpu_search_threshold 6",
    ]
