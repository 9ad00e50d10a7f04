"""Tokens of clients: a file of them, read again when it changes, and kept in memory as hashes only.

A line of the file is ``NAME ROLE TOKEN``, or ``NAME ROLE sha256:HEX`` with the SHA-256 of the token; empty lines and
what follows ``#`` at the beginning of a line are passed over. Tokens are long and random, so a plain hash is enough;
short ones are refused. No message of this module contains a token, or a line of the file.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mishards.errors import ConfigError
from mishards.security.roles import Role
from mishards.security.tls import stamp_of

log = logging.getLogger(__name__)

_LOOK_S = 1.0
"""Between looks at the file."""
_MIN_CHARACTERS = 16
_NAME = re.compile(r"[!-~]{1,64}")
_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")
_GRANTED = (Role.READ, Role.WRITE, Role.ADMIN)


@dataclass(frozen=True, slots=True)
class Token:
    """Whose it is, and what it allows."""

    name: str
    role: Role
    digest: bytes
    """SHA-256."""

    def __repr__(self) -> str:
        return f"<Token {self.name} {self.role.value}>"


def parse_tokens(text: str, source: str) -> tuple[Token, ...]:
    """The tokens in a text of the file's form; ``source`` is its name in errors. Raises ConfigError."""
    return tuple(_parsed(text, source))


def found_among(tokens: tuple[Token, ...], presented: str) -> Token | None:
    """The token that was presented; takes the same time whichever it is, and how ever much of one it is."""
    digest, found = digest_of(presented), None
    for token in tokens:
        if hmac.compare_digest(token.digest, digest):
            found = token
    return found


def digest_of(token: str) -> bytes:
    """SHA-256 of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class Tokens:
    """The tokens that are valid now. Belongs to one thread."""

    def __init__(self, text: str = "", file: Path | None = None) -> None:
        """``text`` has lines of the file's form, with ``;`` between them. Raises ConfigError."""
        self._given = parse_tokens(text.replace(";", "\n"), "security.tokens")
        self._file = file
        self._read: tuple[Token, ...] = ()
        self._stamp: object = None
        self._look_at = 0.0
        if file is not None:
            try:
                self._reread(file)
            except OSError as error:
                raise ConfigError(f"security.tokens_file = {file} cannot be read: {error.strerror}") from error

    def find(self, presented: str) -> Token | None:
        """Whose token it is."""
        self._follow()
        return found_among(self._given + self._read, presented)

    def _follow(self) -> None:
        now = time.monotonic()
        if self._file is None or now < self._look_at:
            return
        self._look_at = now + _LOOK_S
        try:
            self._reread(self._file)
        except (OSError, ConfigError) as error:
            log.warning("the tokens stay those that were read before: %s", error)

    def _reread(self, file: Path) -> None:
        stamp = stamp_of([file])
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ConfigError(f"{file} is no text in UTF-8") from None
        self._read = parse_tokens(text, str(file))
        log.info("%d tokens read from %s", len(self._read), file)


def _parsed(text: str, source: str) -> Iterator[Token]:
    names: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{source}:{number}"
        if len(words) != 3:
            raise ConfigError(f"{where}: expected NAME ROLE TOKEN, found {len(words)} words")
        name, role, secret = words
        if not _NAME.fullmatch(name) or name in names:
            raise ConfigError(f"{where}: the name is too long, not ASCII, or there twice")
        if role not in _GRANTED:
            raise ConfigError(f"{where}: the role must be one of {', '.join(each.value for each in _GRANTED)}")
        names.add(name)
        yield Token(name, Role(role), _digest(secret, where))


def _digest(secret: str, where: str) -> bytes:
    hashed = _HASH.fullmatch(secret)
    if hashed:
        return bytes.fromhex(hashed[1])
    if len(secret) < _MIN_CHARACTERS or secret.startswith("sha256:"):
        raise ConfigError(
            f"{where}: the token must have {_MIN_CHARACTERS} characters or more, or be sha256: and 64 digits"
        )
    return digest_of(secret)
