"""Our own HTTP/2 under load and with very large messages, in processes of their own."""

from __future__ import annotations

import asyncio
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.processes import Program, find_program
from harness.waiting import eventually_async
from mishards.deadline import Deadline
from mishards.transport.api import SERVICE
from mishards.transport.h2.transport import H2Transport

SERVER = """
import asyncio, sys
from mishards.transport.api import ServerOptions
from mishards.transport.h2.transport import H2Transport

async def echo(call):
    return call.request

async def main():
    print("ready", await H2Transport().server(echo, ServerOptions("127.0.0.1:0")).start(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Echo(Program):
    """A server that answers with the request."""

    def __init__(self, folder: Path) -> None:
        super().__init__("echo", [sys.executable, "-c", SERVER], folder)

    def launch(self) -> None:
        self.start(lambda: "ready" in self.log_text())

    @property
    def address(self) -> str:
        return self.log_text().split()[1]

    def peak_bytes(self) -> int:
        """The most memory it ever had."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) << 10


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Echo]:
    with Echo(tmp_path) as program:
        program.launch()
        yield program


async def test_200_mb_pass_both_ways_in_bounded_memory(server: Echo) -> None:
    size = 200 << 20
    channel = H2Transport().channel(server.address)
    before = server.peak_bytes()
    request = b"\x5a" * size
    reply = await channel.call("Insert", request, deadline=Deadline.after(100))
    assert len(reply) == size
    assert reply == request
    # The pieces as they came, and the message that is made of them; the reply is written from the latter.
    assert server.peak_bytes() - before < 2.5 * size
    await channel.close()


@pytest.mark.parametrize(("clients", "streams", "size"), [(1, 1, 551), (4, 32, 551), (2, 8, 52_000)])
def test_a_load_generator_finds_no_fault(server: Echo, tmp_path: Path, clients: int, streams: int, size: int) -> None:
    program = find_program("h2load")
    if program is None:
        pytest.skip("h2load is not installed (Debian: nghttp2-client)")
    body = tmp_path / "body"
    body.write_bytes(struct.pack(">BI", 0, size) + bytes(size))
    done = subprocess.run(
        [program, "-n", "2000", "-c", str(clients), "-m", str(streams), "-d", str(body),
         "-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{server.address}/{SERVICE}/Search"],
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout
    assert "status codes: 2000 2xx" in done.stdout


async def test_callers_that_come_and_go_leave_nothing_behind(server: Echo) -> None:
    async def come_and_go(number: int) -> bytes:
        channel = H2Transport().channel(server.address)
        try:
            return await channel.call("Search", b"%d" % number, deadline=Deadline.after(60))
        finally:
            await channel.close()

    def descriptors() -> int:
        return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))

    await come_and_go(0)
    before = descriptors()
    for _ in range(5):
        await asyncio.gather(*(come_and_go(number) for number in range(40)))

    async def gone() -> bool:
        return descriptors() <= before + 2

    await eventually_async(gone, 30, lambda: f"{descriptors()} descriptors are open; {before} were")
