"""TLS as files on disk, and what Python's ``ssl`` makes of them, for every server and channel of the project.

Files are read when a program starts and looked at again at each new connection: renewed certificates need no restart,
connections that there are stay. Files that do not fit together, as in the middle of a renewal, are passed over with a
line in the log. An authority that is taken out of ``client_ca`` is trusted until the restart.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mishards.errors import StartError

log = logging.getLogger(__name__)

H2 = "h2"
"""HTTP/2 in ALPN (RFC 7301)."""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """A server's own certificate, and whose certificates its clients must have. Files in PEM."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    """None asks clients for no certificate."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file."""
        return tuple(path for path in (self.certificate, self.key, self.client_ca) if path is not None)


@dataclass(frozen=True, slots=True)
class ClientTls:
    """Whom a client trusts, and its own certificate for servers that ask for one. Files in PEM."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""
    """The name in the servers' certificates, where it is not the host in their addresses."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file."""
        return tuple(path for path in (self.ca, self.certificate, self.key) if path is not None)


Stamp = tuple[tuple[int, int, int], ...]
"""What changes when a file of several does."""


def stamp_of(paths: Sequence[Path]) -> Stamp:
    """Look at the files. Raises OSError."""
    found = (path.stat() for path in paths)
    return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)


class Renewal:
    """Tells when files have changed into something that can be used. Safe from one thread at a time."""

    def __init__(self, tls: ServerTls | ClientTls) -> None:
        """Raises StartError where the files cannot be used now."""
        self._tls = tls
        try:
            self._stamp = stamp_of(tls.files)
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise StartError(f"TLS cannot be set up from {_listed(tls)}: {error}") from error

    def due(self) -> bool:
        """Have they changed since the last time, and do they fit together?"""
        try:
            stamp = stamp_of(self._tls.files)
            if stamp == self._stamp:
                return False
            self._stamp = stamp
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self._tls)
        except (OSError, ValueError) as error:
            log.warning("TLS goes on with what was loaded before; %s cannot be used: %s", _listed(self._tls), error)
            return False
        log.info("TLS renewed from %s", _listed(self._tls))
        return True


class RenewingContext(ssl.SSLContext):
    """A context that looks at its files before each connection of an event loop."""

    tls: ServerTls | ClientTls
    renewal: Renewal

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Begin a connection; event loops call this and nothing else."""
        if self.renewal.due():
            _load(self, self.tls)
        return super().wrap_bio(*args, **kwargs)


def server_context(tls: ServerTls, *, optional: bool = False) -> ssl.SSLContext:
    """The context of a listening server; ``optional`` lets clients in that have no certificate.

    Raises:
        StartError: the files cannot be used.
    """
    context = _renewing(tls, ssl.PROTOCOL_TLS_SERVER)
    if tls.client_ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL if optional else ssl.CERT_REQUIRED
    return context


def client_context(tls: ClientTls) -> ssl.SSLContext:
    """The context of a channel; it trusts the authorities of ``tls`` and no other.

    Raises:
        StartError: the files cannot be used.
    """
    return _renewing(tls, ssl.PROTOCOL_TLS_CLIENT)


def names_of(certificate: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The names in a verified certificate of ``SSLSocket.getpeercert``: common names, then alternative ones."""
    if not certificate:
        return ()
    subject = (pair for part in certificate.get("subject", ()) for pair in part)
    names = [value for key, value in subject if key == "commonName"]
    names += [value for _, value in certificate.get("subjectAltName", ())]
    return tuple(dict.fromkeys(names))


def _renewing(tls: ServerTls | ClientTls, protocol: int) -> RenewingContext:
    renewal = Renewal(tls)
    context = RenewingContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.tls, context.renewal = tls, renewal
    _load(context, tls)
    return context


def _load(context: ssl.SSLContext, tls: ServerTls | ClientTls) -> None:
    authorities = tls.client_ca if isinstance(tls, ServerTls) else tls.ca
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_passphrase)
    if authorities is not None:
        context.load_verify_locations(authorities)


def _no_passphrase() -> str:
    """Instead of OpenSSL's question on the terminal."""
    raise ValueError("the key is encrypted; give one without a passphrase")


def _listed(tls: ServerTls | ClientTls) -> str:
    return ", ".join(map(str, tls.files))
