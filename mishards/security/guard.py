"""Decides of each call who makes it, whether they may, and whether they make too many.

Knows no transport: a call shows itself by its attributes. Belongs to one event loop.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from google.protobuf.message import DecodeError

from mishards.errors import Forbidden, MalformedRequest, Overloaded, Unauthenticated
from mishards.security.limits import ClientLimits
from mishards.security.options import SecurityOptions
from mishards.security.roles import AllowLists, Role
from mishards.security.tokens import Tokens
from mishards.wire.protos import milvus_pb2

AUTHORIZATION = "authorization"
"""Metadata of a call, and header over HTTP: ``Bearer TOKEN`` (RFC 6750)."""

_SCHEME = "bearer "


class Asking(Protocol):
    """What is looked at of a call."""

    method: str
    request: bytes
    metadata: Sequence[tuple[str, str]]
    peer: str
    peer_names: tuple[str, ...]
    notes: dict[str, object]


@dataclass(frozen=True, slots=True)
class Client:
    """Who calls."""

    name: str
    role: Role


_ANYBODY = Client("", Role.ADMIN)
_NOBODY = Client("", Role.ANONYMOUS)


class Guard:
    """Admits calls."""

    def __init__(self, options: SecurityOptions) -> None:
        """Raises ConfigError where the tokens cannot be read."""
        self._enforced = options.enforced
        self._tokens = Tokens(options.tokens, Path(options.tokens_file) if options.tokens_file else None)
        self._names = dict(options.certificate_roles)
        self._limits = ClientLimits(options.client_calls_per_s, options.client_burst, options.client_max_calls)
        self._lists = AllowLists(
            {
                Role.ANONYMOUS: options.anonymous_allows,
                Role.READ: options.read_allows,
                Role.WRITE: options.write_allows,
                Role.ADMIN: options.admin_allows,
            }
        )

    @property
    def idle(self) -> bool:
        """Is there nothing to decide?"""
        return not (self._enforced or self._limits.limited)

    @contextmanager
    def admitted(self, call: Asking) -> Iterator[None]:
        """Admit a call for as long as it runs; its token is taken out of its metadata.

        Raises:
            Unauthenticated: who calls is not known, and would have to be.
            Forbidden: the caller's role does not allow it.
            Overloaded: the client makes too many calls.
        """
        presented = next((value for key, value in call.metadata if key == AUTHORIZATION), None)
        if presented is not None:
            call.metadata = tuple(entry for entry in call.metadata if entry[0] != AUTHORIZATION)
        with self._counted(call, presented) as client:
            if self._enforced:
                if client.name:
                    call.notes["client"] = client.name
                self._check(client, _wish(call))
            yield

    def check_page(self, path: str, presented: str | None, names: tuple[str, ...]) -> None:
        """May a page over HTTP be had, behind which there is no call? Raises as ``admitted``, but for Overloaded."""
        if self._enforced:
            self._check(self._client(presented, names), f"http:{path}")

    @contextmanager
    def _counted(self, call: Asking, presented: str | None) -> Iterator[Client]:
        """Count a call for its client, or, while nobody knows whose it is, for its machine."""
        limits, host = self._limits, host_of(call.peer)
        if not limits.limited:
            yield self._client(presented, call.peer_names)
            return
        try:
            client = self._client(presented, call.peer_names)
        except Unauthenticated:
            if refusal := limits.enter(host, time.monotonic()):
                raise Overloaded(f"{refusal}; try again later") from None
            limits.leave(host)
            raise
        name = client.name or host
        if refusal := limits.enter(name, time.monotonic()):
            raise Overloaded(f"{refusal}; try again later")
        try:
            yield client
        finally:
            limits.leave(name)

    def _client(self, presented: str | None, names: tuple[str, ...]) -> Client:
        if not self._enforced:
            return _ANYBODY
        if presented is not None:
            return self._bearer(presented)
        roles = [Client(name, self._names[name]) for name in names if name in self._names]
        return max(roles, key=lambda client: list(Role).index(client.role), default=_NOBODY)

    def _bearer(self, presented: str) -> Client:
        if presented[: len(_SCHEME)].lower() != _SCHEME:
            raise Unauthenticated("authorization is not of the form 'Bearer TOKEN'")
        token = self._tokens.find(presented[len(_SCHEME) :].strip())
        if token is None:
            raise Unauthenticated("the token is not known here; ask the operator for a valid one")
        return Client(token.name, token.role)

    def _check(self, client: Client, wish: str) -> None:
        if self._lists.allows(client.role, wish):
            return
        what = " ".join(wish.split(" ")[:1]) if wish.startswith("Cmd:") else wish
        if client is _NOBODY:
            raise Unauthenticated(f"{what} needs a token; send it as metadata or header authorization: Bearer TOKEN")
        least = self._lists.lowest(wish)
        needed = f"the role {least.value}" if least else "a role that no list gives"
        raise Forbidden(f"{what} needs {needed}; {client.name} has the role {client.role.value}")


def host_of(peer: str) -> str:
    """The machine in a peer's name: ``ipv4:1.2.3.4:5`` and ``http:1.2.3.4:5`` are both ``1.2.3.4``."""
    return peer.partition(":")[2].rpartition(":")[0] or peer


def _wish(call: Asking) -> str:
    if call.method != "Cmd":
        return call.method
    try:
        return "Cmd:" + milvus_pb2.Command.FromString(call.request).cmd
    except DecodeError as error:
        raise MalformedRequest(f"the request is no Command: {error}") from error
