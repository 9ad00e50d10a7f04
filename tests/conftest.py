"""What every test has: profiles of hypothesis, servers, the client, and the logs of programs when a test fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from harness.client import RemoteClient
from harness.client_venv import client_python as make_client_python
from harness.mariadb import Database, MariaDB
from harness.processes import open_programs, server_folder

pytest.register_assert_rewrite("mishards.testing")

hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.register_profile("long", deadline=None, max_examples=5_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))


REAL_PROCESSES = ("e2e", "integration", "conformance", "faults", "soak")
"""Folders whose tests run real programs, which a busy shared machine may starve past a deadline."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In CI, try a failed test of real programs once more; the summary names it, so that it is seen and mended.

    Whoever works on the code gets no second try, and nor does a test that needs no other program.
    """
    if not os.environ.get("CI"):
        return
    for item in items:
        if item.path.relative_to(Path(__file__).parent).parts[0] in REAL_PROCESSES:
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of every running program's log to the report of a test that failed."""
    report = yield
    if report.failed:
        report.sections += [(f"end of the log of {program.name}", program.log_tail()) for program in open_programs()]
    return report


@pytest.fixture(scope="session")
def pymilvus_python() -> Path:
    """Return the interpreter that has the unmodified client, from an environment of its own."""
    return make_client_python()


@pytest.fixture
def connect(pymilvus_python: Path) -> Iterator[Callable[..., RemoteClient]]:
    """Connect an unmodified client to an address; it is closed after the test. Takes what ``RemoteClient`` takes."""
    clients: list[RemoteClient] = []

    def connect_to(address: str, **options: Any) -> RemoteClient:
        clients.append(RemoteClient(pymilvus_python, address, **options))
        return clients[-1]

    yield connect_to
    for client in clients:
        client.close()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """Run a MariaDB for all tests of this process; a test that kills or pauses it starts it again."""
    if missing := MariaDB.missing():
        pytest.skip(missing)
    with server_folder("mariadb") as folder, MariaDB(folder) as server:
        server.launch()
        yield server


@pytest.fixture
def mysql_database(mariadb: MariaDB) -> Iterator[Database]:
    """Make an empty MariaDB database for one test."""
    database = mariadb.create_database()
    yield database
    mariadb.drop_database(database)
