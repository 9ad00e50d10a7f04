from __future__ import annotations

import asyncio
import contextvars

from mishards.logs import notes


def test_what_is_noted_is_found_by_whoever_began() -> None:
    async def scenario() -> dict[str, object]:
        found: dict[str, object] = {}
        notes.begin(found)
        notes.add(collection="a", retries=0)
        await asyncio.create_task(later())
        return found

    async def later() -> None:
        notes.count(retries=1, hedges=2)
        notes.count(retries=1)
        for _ in range(2):
            with notes.stage("do_search"):
                pass

    found = asyncio.run(scenario())
    milliseconds = found.pop("do_search_ms")
    assert isinstance(milliseconds, float)
    assert milliseconds >= 0
    assert found == {"collection": "a", "retries": 2, "hedges": 2}


def test_without_a_call_nothing_is_noted() -> None:
    def quiet() -> None:
        notes.add(a=1)
        notes.count(b=1)
        with notes.stage("c"):
            pass

    contextvars.Context().run(quiet)
