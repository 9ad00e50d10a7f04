"""Runs an embedded cluster from its start to the signal that ends it.

stdout carries ``ready HOST:PORT`` and what ``--sample`` shows; what happens to processes goes to stderr.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field, replace

from rich.console import Console

from mishards.errors import MishardsError, ProcessFailed
from mishards.local.cluster import ClusterOptions, loopback, processes
from mishards.local.folder import held_folder
from mishards.local.ports import check_port, free_port
from mishards.local.progress import step
from mishards.local.supervisor import Supervisor

_FIRST_ROUTER = "router-1"


@dataclass(frozen=True, slots=True)
class Consoles:
    """Where a cluster writes: results to ``out``, what happens meanwhile to ``notes``."""

    out: Console = field(default_factory=lambda: Console(highlight=False))
    notes: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))


def run_cluster(options: ClusterOptions, *, sample: bool, restart: bool) -> None:
    """Run the cluster in this thread, the main one, until SIGINT, SIGTERM or SIGHUP.

    Raises StartError where it cannot start; everything that was started has ended then.
    """
    with held_folder(options):
        _check_ports(options)
        # The port of the first router's HTTP address is needed by its number.
        known = replace(options, http_port=options.http_port or free_port())
        try:
            asyncio.run(_run(known, Consoles(), sample=sample, restart=restart))
        except ProcessFailed as error:
            if error.name == _FIRST_ROUTER:
                _check_ports(options)  # somebody may have taken one meanwhile: then that is the news
            raise


def _check_ports(options: ClusterOptions) -> None:
    check_port(options.port, "--port")
    check_port(options.http_port, "--http-port")


async def _run(options: ClusterOptions, consoles: Consoles, *, sample: bool, restart: bool) -> None:
    def report(text: str) -> None:
        consoles.notes.print(text, markup=False, soft_wrap=True)

    stopped = _stop_signal()
    supervisor = Supervisor(processes(options), options.folder, restart=restart, report=report)
    serving = asyncio.create_task(_serve(supervisor, options, consoles, sample=sample), name="serve the cluster")
    stopping = asyncio.create_task(stopped.wait(), name="wait for a signal")
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
            await stopping
    finally:
        serving.cancel()
        stopping.cancel()
        await asyncio.gather(serving, stopping, return_exceptions=True)
        await supervisor.stop()
    report("stopped")


async def _serve(supervisor: Supervisor, options: ClusterOptions, consoles: Consoles, *, sample: bool) -> None:
    with step(consoles.notes, "starting the cluster"):
        await supervisor.start()
    address = supervisor.address_of(_FIRST_ROUTER)
    consoles.out.print(f"ready {address}", soft_wrap=True)
    consoles.out.file.flush()
    if sample:
        await _show_sample(address, loopback(options.http_port), consoles)


async def _show_sample(address: str, http_address: str, consoles: Consoles) -> None:
    from mishards.local.demo import show_sample

    try:
        await show_sample(address, http_address, consoles.out)
    except MishardsError as error:
        consoles.notes.print(f"the sample failed: {error}; the cluster goes on serving", markup=False, soft_wrap=True)


def _stop_signal() -> asyncio.Event:
    """An event that is set by the signals that end a program; a SIGHUP that the starter ignores stays ignored."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stopped.set)
    return stopped
