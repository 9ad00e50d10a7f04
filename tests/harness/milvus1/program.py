"""One node of the double as a child process of a test."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.milvus1.options import Role
from harness.ports import free_port
from harness.processes import Program
from harness.waiting import eventually

_TESTS = Path(__file__).resolve().parents[2]


class Milvus1Program(Program):
    """A node that can be killed, frozen and started again at the same address; the shared state is on disk."""

    def __init__(
        self, role: Role, metadata_uri: str, storage: Path, folder: Path, *options: str, pause_at: str | None = None
    ) -> None:
        """Describe a node.

        Args:
            role: ``rw`` or ``ro``.
            metadata_uri: As ``node.Milvus1Double`` takes it.
            storage: The shared folder.
            folder: Where its log goes.
            options: Fields of ``options.Options`` as ``NAME=VALUE``.
            pause_at: A value of ``hooks.Point`` where it stops once.
        """
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.pause_at = pause_at
        command: list[str | Path] = [sys.executable, "-m", "harness.milvus1", "--role", role, "--address", self.address]
        command += ["--metadata", metadata_uri, "--storage", storage]
        command += [part for option in options for part in ("--option", option)]
        command += ["--pause-at", pause_at] if pause_at else []
        search = f"{_TESTS}:{_TESTS.parent}"
        super().__init__(f"milvus1-{role}-{port}", command, folder, environment={"PYTHONPATH": search})

    def launch(self) -> None:
        """Start it and wait until it answers."""
        before = self.log_text().count("listening on")
        self.start(lambda: self.log_text().count("listening on") > before)

    def wait_paused(self, timeout_s: float = 10) -> None:
        """Wait until it has stopped at ``pause_at``.

        Raises:
            AssertionError: when it has not within ``timeout_s``.
        """
        eventually(lambda: f"paused at {self.pause_at}" in self.log_text(), timeout_s, f"{self.name} pauses")
