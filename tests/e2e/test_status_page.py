"""The status page in a real browser, before a live cluster of which a node is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from harness.chromium import Browser, View, find_chromium
from harness.fleet import NAME, QUERIES, Fleet, RouterProcess
from harness.milvus1.client import search_param
from harness.waiting import eventually
from mishards.wire.protos import milvus_pb2 as pb

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian's package chromium)")

PHONE = View(390, 844)
SEGMENTS = 5
TOKEN = "a-token-of-somebody-who-reads"  # noqa: S105 - of this test


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("fleet"), "ours", readers=2) as running:
        running.fill(segments=SEGMENTS)
        for _ in range(3):
            running.client.call("Search", search_param(NAME, QUERIES, 5), pb.TopKQueryResult)
        yield running


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert CHROMIUM is not None
    with Browser(CHROMIUM, tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def page(fleet: Fleet, browser: Browser) -> Browser:
    browser.look_with(View())
    browser.said.clear()
    browser.open(f"http://127.0.0.1:{fleet.router.http_port}/")
    shows(browser, "#nodes", fleet.readers[0].name)
    return browser


def shows(page: Browser, selector: str, text: str) -> None:
    eventually(
        lambda: text in page.text(selector), 30, lambda: f"{selector} shows {text!r}, not {page.text(selector)!r}"
    )


def count(page: Browser, selector: str) -> int:
    return int(page.evaluate(f"document.querySelectorAll({json.dumps(selector)}).length"))


def test_a_page_without_a_mouse_on_any_screen_in_light_and_dark(page: Browser, fleet: Fleet) -> None:
    shows(page, "#verdict", "Everything is well")
    shows(page, "#matrices", f"{SEGMENTS} segments")
    assert count(page, ".matrix tr") == 2
    assert count(page, ".matrix .first") == SEGMENTS
    shows(page, "#slow", NAME)
    backgrounds = []
    for view in (View(), PHONE, View(dark=True)):
        page.look_with(view)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= view.width, f"the page is {width} wide on a screen of {view.width}"
        backgrounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert backgrounds[0] == backgrounds[1] != backgrounds[2]
    page.evaluate("document.querySelector('.scroll').focus()")
    page.press("ArrowRight", 39)
    shows(page, ".said", "Segment ")
    page.evaluate("document.querySelector('summary').focus()")
    page.press("Enter", 13)
    shows(page, "details[open]", "do search")
    named = "e => e.labels?.length || e.ariaLabel || e.innerText"
    assert page.evaluate(f"[...document.querySelectorAll('button, select')].every({named})")
    assert not page.said, "the page broke its own policy, or failed"


def test_what_would_move_is_shown_before_it_moves(page: Browser, fleet: Fleet) -> None:
    held = page.evaluate("document.querySelectorAll('.matrix tr:first-child .cell.first').length")
    page.evaluate("document.querySelector('#what-if').selectedIndex = 1")
    page.evaluate("document.querySelector('#what-if').dispatchEvent(new Event('change'))")
    shows(page, "#change", f"{held} of {SEGMENTS} copies would be loaded elsewhere" if held else "nothing moves")
    eventually(
        lambda: count(page, ".matrix .gets") == count(page, ".matrix .loses") == held, 30, lambda: "moves are shown"
    )


@pytest.mark.parametrize(("width", "rows"), [(1280, [7]), (1000, [4, 3]), (390, [2, 2, 2, 1])])
def test_the_tiles_fill_every_row_at_any_width(page: Browser, width: int, rows: list[int]) -> None:
    page.look_with(View(width, 900))
    spans = page.evaluate(
        "[document.querySelector('#tiles'), ...document.querySelectorAll('.tile')].map(e => e.getBoundingClientRect())"
        ".map(r => [r.top, r.left, r.right].map(Math.round))"
    )
    (_, left, right), *tiles = spans
    found = [list(row) for _, row in groupby(tiles, key=lambda tile: tile[0])]
    assert [len(row) for row in found] == rows
    assert all((row[0][1], row[-1][2]) == (left, right) for row in found)
    assert max(len({end - start for _, start, end in row}) for row in found) <= 2, (
        "as wide as each other, but for rounding"
    )


def test_a_drained_node_can_be_taken_back(page: Browser, fleet: Fleet) -> None:
    page.evaluate("document.querySelector('#nodes button').focus()")
    page.press("Enter", 13)
    shows(page, "#verdict", "is drained by an operator")
    shows(page, "#nodes", "Take back")
    page.evaluate("[...document.querySelectorAll('#nodes button')].find(b => b.innerText === 'Take back').click()")
    shows(page, "#verdict", "Everything is well")


def test_a_router_with_access_control_asks_for_a_token_first(fleet: Fleet, browser: Browser, tmp_path: Path) -> None:
    discovery = f"static://?writable={fleet.writable.address}&readonly={fleet.readers[0].name}"
    security = {"security": {"tokens": f"reader read {TOKEN}"}}
    with RouterProcess(tmp_path, fleet.metadata, discovery, "secured", security) as router:
        router.launch()
        browser.open(f"http://127.0.0.1:{router.http_port}/")
        shows(browser, "#verdict", "wants to know who you are")
        assert not browser.text("#nodes")
        browser.evaluate(f"document.querySelector('#token').value = '{TOKEN}'")
        browser.evaluate("document.querySelector('#verdict form').requestSubmit()")
        shows(browser, "#nodes", fleet.readers[0].name)
        browser.evaluate("document.querySelector('#nodes button').click()")
        shows(browser, "#acted", "role")
        browser.evaluate("sessionStorage.clear()")


def test_a_killed_node_is_the_first_thing_on_the_page_and_so_is_a_router_gone(page: Browser, fleet: Fleet) -> None:
    fleet.readers[0].program.kill()
    shows(page, "#verdict", f"{fleet.readers[0].name} is down")
    first = page.evaluate("document.querySelector('main').firstElementChild.id")
    assert first == "verdict"
    shows(page, "#nodes", "down")
    eventually(lambda: count(page, ".matrix th.off") == 1, 30, lambda: "the node's row is marked")
    fleet.readers[0].program.launch()
    shows(page, "#verdict", "Everything is well")
    fleet.router.kill()
    shows(page, "#verdict", "This router does not answer")
    assert fleet.readers[0].name in page.text("#nodes"), "what was known last stays"
    fleet.router.launch()
    shows(page, "#verdict", "Everything is well")
