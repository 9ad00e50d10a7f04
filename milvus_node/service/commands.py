"""``Cmd``: the texts that clients and operators send."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import mishards
from milvus_node.settings.store import Settings
from mishards.errors import CommandError
from mishards.transport.api import Call
from mishards.wire.extensions import (
    CAPABILITIES_COMMAND,
    ELECTION,
    GROWING,
    JOINING,
    LEADER_COMMAND,
    MEMORY,
    MEMORY_COMMAND,
    REVISION,
    STRICT_FILES,
    WARMED_COMMAND,
)
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.replies import ok_status

SERVER_VERSION = "1.1.0"
"""What ``version`` answers: the protocol served, which clients check; not the version of this program."""

CAPABILITIES = (JOINING, MEMORY, REVISION, STRICT_FILES)
"""Extensions of the protocol that a node of any role has; a writable one has ``GROWING`` and ``ELECTION`` too."""


class Commands:
    """Answers ``Cmd``. Safe from any thread."""

    def __init__(
        self,
        role: str,
        running: Callable[[], list[str]],
        memory: Callable[[], Mapping[str, int]],
        settings: Settings,
        warmed: Callable[[], None],
        leading: Callable[[], Mapping[str, object]] | None = None,
    ) -> None:
        """``running`` lists the calls under way; ``warmed`` is called when a router says that this node is warm.

        ``memory`` says what the cache of segments holds.
        ``leading`` says of a writable node whether it leads.
        """
        self._settings = settings
        self._warmed = warmed
        capabilities = (*CAPABILITIES, GROWING, ELECTION) if leading else CAPABILITIES
        self._fixed: Mapping[str, Callable[[], str]] = {
            "version": lambda: SERVER_VERSION,
            "status": lambda: "OK",
            "mode": lambda: "CPU",
            "build_commit_id": lambda: f"mishards-{mishards.__version__}",
            "tasktable": lambda: "{}",
            "requests": lambda: json.dumps({"requests": running()}, separators=(",", ":")),
            "get_system_info": _system_info,
            MEMORY_COMMAND: lambda: json.dumps(memory()),
            CAPABILITIES_COMMAND: lambda: json.dumps({"role": role, "capabilities": capabilities}),
        }
        if leading:
            self._fixed = {**self._fixed, LEADER_COMMAND: lambda: json.dumps(leading())}

    def cmd(self, call: Call) -> bytes:
        """Cmd; an unknown text is answered so, with success, as the protocol has it."""
        text = pb.Command.FromString(call.request).cmd
        return pb.StringReply(status=ok_status(), string_reply=self._answer(text)).SerializeToString()

    def _answer(self, text: str) -> str:
        words = text.split(" ")
        if words[0] == "get_config":
            self._check(text, well_formed=len(words) == 2 and (words[1] == "*" or "." in words[1]))
            return self._settings.get(words[1])
        if words[0] == "set_config":
            self._check(text, well_formed=len(words) == 3 and "." in words[1])
            self._settings.set(words[1], words[2])
            return ""
        if text == WARMED_COMMAND:
            self._warmed()
            return "OK"
        answer = self._fixed.get(text)
        return "Unknown command" if answer is None else answer()

    @staticmethod
    def _check(text: str, *, well_formed: bool) -> None:
        if not well_formed:
            raise CommandError(f"Invalid command: {text}")


def _system_info() -> str:
    fields = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        key, _, rest = line.partition(":")
        fields[key] = int(rest.split()[0]) * 1024
    info = {
        "memory_total": str(fields["MemTotal"]),
        "memory_used": str(fields["MemTotal"] - fields["MemAvailable"]),
    }
    return json.dumps(info, separators=(",", ":"))
