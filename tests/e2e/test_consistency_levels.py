"""The levels of consistency over real processes, through two routers."""

from __future__ import annotations

from pathlib import Path

from harness.fleet import BASE, NAME, Fleet, placement
from harness.waiting import eventually


def params(level: str) -> str:
    return f'{{"consistency_level": "{level}", "graceful_time_ms": 0}}'


def test_each_level_sees_what_it_must(tmp_path: Path) -> None:
    with Fleet(tmp_path, "ours", settings={"search": {"metadata_wait_ms": 20_000}}) as fleet:
        fleet.fill(segments=2)
        other = fleet.client_of(fleet.add_router("second").address)

        def finds(client: object, number: int, level: str) -> bool:
            reply = client.search(NAME, BASE[number : number + 1], 1, params(level))  # type: ignore[attr-defined]  # a NodeClient
            assert reply.code == 0, reply.reason
            return list(reply.ids[0][:1]) == [number]

        for number in range(1000, 1005):
            reply = fleet.client.insert(NAME, BASE[number : number + 1], range(number, number + 1), "")
            assert not reply.status.error_code
            assert finds(fleet.client, number, "Session"), "an own write"
            assert finds(other, number, "Strong"), "any write"
        assert not fleet.client.delete(NAME, [1000]).error_code
        assert not finds(other, 1000, "Strong"), "a deleted row"
        assert not fleet.client.flush(NAME).error_code
        assert finds(other, 1004, "Bounded"), "what was flushed before"
        eventually(lambda: finds(other, 1003, "Eventually"), 20, "it comes in the end")


def test_a_replica_number_is_set_by_a_command_and_holds_for_every_router(tmp_path: Path) -> None:
    with Fleet(tmp_path, "ours") as fleet:
        fleet.fill(segments=2)
        second = fleet.add_router("second")
        assert {len(names) for names in placement(second).values()} == {1}
        assert not fleet.client.command(f"set_config replicas.{NAME} 2").status.error_code
        eventually(lambda: {len(names) for names in placement(second).values()} == {2}, 20, "both hold all")
        assert placement(second) == placement(fleet.router)
