"""What ``mishards local --sample`` shows: real words loaded, indexed, searched, and how the search was split."""

from __future__ import annotations

import shutil
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from mishards.errors import SampleFailed
from mishards.local.client import Client, get_json
from mishards.local.progress import step
from mishards.local.sample import load_sample
from mishards.local.words import COLLECTION, Neighbour, Words
from mishards.transport.choice import transport_of

SHOWN_WORDS = ("king", "france", "guitar", "monday", "coffee", "winter")
"""Words whose nearest are short enough for a table of 80 columns."""

_NEAREST = 5


@dataclass(frozen=True, slots=True)
class Share:
    """What one node searches: segment ids, and how many rows they hold together."""

    node: str
    segments: tuple[str, ...]
    rows: int


async def show_sample(address: str, http_address: str, console: Console) -> None:
    """Load the sample where it is not there yet, then search it, through the router at ``address``.

    Raises SampleFailed or NodeError where the cluster does not answer as it should.
    """
    channel = transport_of().channel(address)
    try:
        words = Words(Client(channel), load_sample())
        await _load(words, console)
        console.print(_neighbours_table(await words.nearest(SHOWN_WORDS, _NEAREST)))
    finally:
        await channel.close()
    console.print(_split_table(await _shares(http_address)))
    console.print(_hint(address, http_address), highlight=False)


async def _load(words: Words, console: Console) -> None:
    missing = await words.missing_rows()
    if missing == 0:
        console.print(f"The collection {COLLECTION} is already here: nothing to load", highlight=False)
        await words.build_index()  # at once, unless the last load was interrupted
        return
    with step(console, "loading words", missing) as advance:
        await words.insert_last(missing, advance)
    with step(console, "building the index"):
        await words.build_index()


async def _shares(http_address: str) -> list[Share]:
    path = f"/explain/{COLLECTION}"
    try:
        return split(await get_json(http_address, path))
    except (OSError, ValueError, LookupError) as error:
        raise SampleFailed(f"http://{http_address}{path} does not tell the plan: {error}") from error


def split(plan: dict[str, Any]) -> list[Share]:
    """What each node searches, from the router's ``/explain/COLLECTION``; a segment's first node is the one asked."""
    held: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for segment in plan["segments"]:
        held[segment["nodes"][0]].append(segment)
    return [
        Share(node, tuple(str(part["segment_id"]) for part in parts), sum(part["rows"] for part in parts))
        for node, parts in sorted(held.items())
    ]


def _table(title: str, first_column: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column(first_column, style="bold cyan")
    return table


def _neighbours_table(answers: Sequence[Sequence[Neighbour]]) -> Table:
    table = _table("Nearest words, by inner product", "word")
    for place in range(1, _NEAREST + 1):
        table.add_column(f"{place}.")
    for word, neighbours in zip(SHOWN_WORDS, answers, strict=True):
        table.add_row(word, *(f"{near.word} [dim]{near.score:.2f}[/dim]" for near in neighbours))
    return table


def _split_table(shares: Sequence[Share]) -> Table:
    table = _table("How each search was split", "node")
    table.add_column("segments", justify="right")
    table.add_column("rows", justify="right")
    table.add_column("segment ids", overflow="fold")
    for share in shares:
        table.add_row(share.node, str(len(share.segments)), f"{share.rows:,}", ", ".join(share.segments))
    return table


def _hint(address: str, http_address: str) -> str:
    host, _, port = address.rpartition(":")
    program = "mishards" if shutil.which("mishards") else f"{sys.executable} -m mishards"
    return f"""
Connect with any Milvus 1.x client (pip install pymilvus==1.1.2):

  from milvus import Milvus
  client = Milvus("{host}", "{port}")
  client.get_collection_stats("{COLLECTION}")

Look inside:

  {program} status --http {http_address}
  {program} explain {COLLECTION} --http {http_address}

Serving on {address} until Ctrl-C."""
