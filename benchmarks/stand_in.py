"""Stand-in nodes: each answers every search at once with a full result of its own, which costs next to nothing.

Those on our transport answer as our nodes do, at once or after a while. The other ones are an nginx that serves a file.
Each suits its own kind: nginx writes all header fields of every call anew, which is dear to read for our transport, so
that the one behind nginx would be slow, and the other behind the router would slow it. None of them searches.

Run as a program it is the node on our transport: ``stand_in.py ORDER.json`` says ``ready ADDRESS,ADDRESS,…``.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from machine import program
from transport_load import free_ports, on_core, process, wait_for

from mishards.topk import TopK
from mishards.transport.api import SERVICE, Call, ServerOptions
from mishards.transport.choice import transport_of
from mishards.transport.loop import run_on
from mishards.wire.extensions import CAPABILITIES_COMMAND, REVISION, STRICT_FILES
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.replies import ok_status
from mishards.wire.results import encode_result

COUNT_COMMAND = "searches"
"""A stand-in on our transport answers with how many searches it and its fellows have got."""

_ANSWERS = {CAPABILITIES_COMMAND: json.dumps({"capabilities": [REVISION, STRICT_FILES]}), "status": "OK"}

_NGINX = """\
daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_max_body_size 0; client_body_buffer_size 256k; keepalive_requests 100000000;
  open_file_cache max=100;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
  scgi_temp_path {folder}; output_buffers 2 256k; http2_max_concurrent_streams 1024;
  types {{}} default_type application/grpc;
  server {{
    listen {address} http2; root {folder};
    # A file is not POSTed to: nginx says so with 405, which is turned into the file. It mirrors what came to nowhere,
    # so as to have read it before it answers; otherwise it resets streams whose end is late.
    location = /{service}/Search {{ mirror /nowhere; alias {folder}/reply; error_page 405 =200 /reply; }}
    location = /nowhere {{ internal; return 204; }}
    location = /reply {{ add_trailer grpc-status 0 always; error_page 405 =200 @reply; }}
    location @reply {{ root {folder}; }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a stand-in takes for a search, and how long for a share of them."""

    usual_ms: float = 0.0
    slow_ms: float = 0.0
    slow_share: float = 0.0


@dataclass(frozen=True, slots=True)
class StandIns:
    """Where they are, and the process of the searches."""

    addresses: tuple[str, ...]
    pid: int


def replies(nodes: int, rows: int, width: int) -> list[bytes]:
    """Full results, another one for each node, with ids as a server makes them."""
    source = np.random.default_rng(rows * width)
    return [
        encode_result(
            TopK(
                source.integers(1_600_000_000_000_000_000, 1_800_000_000_000_000_000, (rows, width)),
                np.sort(source.random((rows, width), dtype=np.float32), axis=1),
            )
        )
        for _ in range(nodes)
    ]


@contextmanager
def nginx_node(answer: bytes, core: int = 1) -> Iterator[tuple[int, str]]:
    """An nginx that answers every search; its process id and address.

    Raises:
        Skipped: there is no nginx.
    """
    nginx = program("nginx")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)  # started by root, nginx reads as somebody else
        address = f"127.0.0.1:{free_ports(1)[0]}"
        (folder / "reply").write_bytes(b"\0" + len(answer).to_bytes(4, "big") + answer)
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, address=address, service=SERVICE))
        command = [*on_core(core), nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
        started = subprocess.Popen(command)
        stack.callback(started.wait, 60)
        stack.callback(started.terminate)
        wait_for(address)
        yield started.pid, address


@contextmanager
def our_nodes(answers: Sequence[bytes], pace: Pace | None = None, core: int = 1) -> Iterator[StandIns]:
    """One process on our transport that is as many nodes as there are answers."""
    with tempfile.TemporaryDirectory() as name:
        files = []
        for number, answer in enumerate(answers):
            (Path(name) / str(number)).write_bytes(answer)
            files.append(str(Path(name) / str(number)))
        order = Path(name) / "order.json"
        order.write_text(json.dumps({"replies": files, "pace": asdict(pace or Pace())}))
        with process([sys.executable, __file__, str(order)], core) as (pid, addresses):
            yield StandIns(tuple(addresses.split(",")), pid)


async def _serve(answers: Sequence[bytes], pace: Pace) -> None:
    got, chance = 0, random.Random(1)  # noqa: S311 - which searches are slow is no secret

    async def answer(hits: bytes, call: Call) -> bytes:
        nonlocal got
        if call.method in ("Search", "SearchInFiles"):
            got += 1
            waits_ms = pace.slow_ms if chance.random() < pace.slow_share else pace.usual_ms
            if waits_ms:
                await asyncio.sleep(waits_ms / 1000)
            return hits
        said = "1.1.0"
        if call.method == "Cmd":
            asked = pb.Command.FromString(call.request).cmd
            said = str(got) if asked == COUNT_COMMAND else _ANSWERS.get(asked, said)
        return pb.StringReply(status=ok_status(), string_reply=said).SerializeToString()

    servers = [transport_of("h2").server(partial(answer, hits), ServerOptions("127.0.0.1:0")) for hits in answers]
    print("ready", ",".join([await server.start() for server in servers]), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    ORDER = json.loads(Path(sys.argv[1]).read_text())
    run_on("auto", _serve([Path(path).read_bytes() for path in ORDER["replies"]], Pace(**ORDER["pace"])))
