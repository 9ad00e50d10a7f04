"""Several routers over the same nodes agree without talking, and clients behind a balancer do not notice one die."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from harness.fleet import KINDS, NAME, QUERIES, Fleet, RouterProcess, placement
from harness.haproxy import HAProxy
from harness.nginx import Nginx
from harness.recorder import Recorder
from harness.waiting import eventually


@pytest.fixture(params=KINDS)
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path, request.param, settings={"routing": {"replicas": 2}}, readers=3) as made:
        made.fill(segments=8)
        yield made


def is_up(router: RouterProcess, name: str) -> bool:
    return bool(router.node(name)["health"] == "up")


@pytest.fixture
def second(fleet: Fleet) -> RouterProcess:
    return fleet.add_router("second")


def test_two_routers_place_alike_and_answer_alike_also_after_a_restart(
    fleet: Fleet, second: RouterProcess, tmp_path: Path
) -> None:
    placed = placement(fleet.router)
    assert len(placed) == 8
    assert placement(second) == placed
    before = fleet.client.search(NAME, QUERIES, 50)
    assert (before.code, len(before.ids[0])) == (0, 50)
    assert fleet.client_of(second.address).search(NAME, QUERIES, 50) == before
    second.terminate()
    second.launch()
    assert placement(second) == placed
    assert fleet.client_of(second.address).search(NAME, QUERIES, 50) == before
    written = {path.name for path in tmp_path.iterdir() if path.name.startswith(("router", "second"))}
    assert written == {"router.yaml", "router.log", "second.yaml", "second.log"}  # what the test itself has made


def test_a_deleted_row_is_returned_through_no_router_by_no_node_restarted_or_not(
    fleet: Fleet, second: RouterProcess
) -> None:
    other = fleet.client_of(second.address)
    params = '{"consistency_level": "Bounded", "graceful_time_ms": 0}'

    def found() -> list[set[int]]:
        replies = [client.search(NAME, QUERIES[:1], 1000, params) for client in (fleet.client, other)]
        assert [reply.code for reply in replies] == [0, 0]
        return [{number for number in reply.ids[0] if number != -1} for reply in replies]

    everything = set(range(320))
    assert found() == [everything, everything]
    for turn, reader in enumerate(fleet.readers[:2]):
        fleet.delete(range(turn, 320, 7))
        everything -= set(range(turn, 320, 7))
        for _ in range(3):  # the balancing asks one replica and another
            assert found() == [everything, everything]
        reader.program.kill()
        assert found() == [everything, everything]
        reader.program.launch()
        eventually(partial(is_up, second, reader.name), 15, "the reader is back")
        assert found() == [everything, everything]


def balancer_over(kind: type[Nginx] | type[HAProxy], folder: Path, routers: Sequence[RouterProcess]) -> Nginx | HAProxy:
    addresses = [router.address for router in routers]
    return (
        HAProxy(folder, addresses, [router.http_port for router in routers])
        if kind is HAProxy
        else Nginx(folder, addresses)
    )


@pytest.mark.parametrize(
    ("fleet", "kind_of_balancer"), [("ours", Nginx), ("double", Nginx), ("ours", HAProxy)], indirect=["fleet"]
)
def test_a_router_that_dies_behind_a_balancer_is_not_noticed_by_clients_that_retry(
    fleet: Fleet, second: RouterProcess, tmp_path: Path, kind_of_balancer: type[Nginx] | type[HAProxy]
) -> None:
    if missing := kind_of_balancer.missing():
        pytest.skip(missing)
    folder = tmp_path / "balancer"
    folder.mkdir()
    assert placement(second) == placement(fleet.router)
    with balancer_over(kind_of_balancer, folder, [fleet.router, second]) as balancer:
        balancer.launch()
        address = f"127.0.0.1:{balancer.port}"
        direct, through = fleet.client, fleet.client_of(address)
        expected = direct.search(NAME, QUERIES, 50)
        assert [through.search(NAME, QUERIES, 50) for _ in range(6)] == [expected] * 6
        with Recorder(address, NAME, fleet.truth, QUERIES, retries=3) as recorder:
            recorder.wait_answers(20)
            second.kill()
            recorder.wait_answers(20)
            fleet.delete(range(0, 320, 9))
            second.launch()
            eventually(lambda: placement(second) == placement(fleet.router), 15, "both place alike again")
            recorder.wait_answers(20)
        recorder.assert_clean()
