"""Does a program stand open to strangers, and what its HTTP port asks of clients."""

from __future__ import annotations

import ipaddress
import logging
import ssl
from collections.abc import Iterable

from mishards.security.options import SecurityOptions, TlsOptions
from mishards.security.tls import server_context

log = logging.getLogger(__name__)

_LOCAL_NAMES = frozenset({"localhost", "ip6-localhost"})


def is_loopback(address: str) -> bool:
    """Can only this machine reach the ``host:port`` or ``unix:PATH``? A name that is not surely local is not."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]").lower()
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in _LOCAL_NAMES


def exposure(addresses: Iterable[str], *, encrypted: bool, authenticated: bool) -> str:
    """What to warn of, in one line; empty where nothing is wrong. An empty address is none."""
    open_to = [address for address in addresses if address and not is_loopback(address)]
    missing = []
    if not encrypted:
        missing.append("without TLS (set tls.certificate and tls.key)")
    if not authenticated:
        missing.append("without access control (set security.tokens_file, or tls.client_ca)")
    if not open_to or not missing:
        return ""
    return f"INSECURE: {', '.join(open_to)} can be reached from other machines {' and '.join(missing)}"


def warn_if_exposed(addresses: Iterable[str], tls: TlsOptions, security: SecurityOptions) -> None:
    """Log the warning, where there is one."""
    protected = security.enforced or bool(tls.client_ca)
    if warning := exposure(addresses, encrypted=tls.server is not None, authenticated=protected):
        log.warning(warning)


def http_tls(tls: TlsOptions, security: SecurityOptions) -> ssl.SSLContext | None:
    """TLS of the HTTP port; None is none.

    Where roles decide, a client without a certificate comes in, to be let into what is for everybody: health checks.

    Raises:
        StartError: the files cannot be used.
    """
    return server_context(tls.server, optional=security.enforced) if tls.server is not None else None
