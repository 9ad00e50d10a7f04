"""Does a program stand open to strangers? Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

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
