"""How discovery plugins prove who they are: TLS, and secrets that a URI names but never holds.

A URI is written into logs and shown to operators, so it only says *where* a secret is: in a file, which is read again
for every use and so may be replaced while we run, or in a variable of the environment.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mishards.errors import DiscoveryError, PluginError

Query = Mapping[str, list[str]]
"""The options of a URI, as ``parse_qs`` gives them."""

TLS_OPTIONS = frozenset({"tls", "ca", "cert", "key"})


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM: who is trusted (empty: whom the system trusts), and who we are (empty: nobody)."""

    ca: str = ""
    cert: str = ""
    key: str = ""

    def context(self) -> ssl.SSLContext:
        """What a connection needs. Raises PluginError when a file cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
            if self.cert:
                context.load_cert_chain(self.cert, self.key or None)
        except OSError as error:
            raise PluginError(f"ca={self.ca} cert={self.cert} key={self.key} cannot be used: {error}") from error
        return context


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is: one of a file and a variable of the environment."""

    file: str = ""
    variable: str = ""

    def read(self) -> str:
        """The secret as it is now, without the white space around it. Raises DiscoveryError when it is not there."""
        if self.variable:
            if self.variable not in os.environ:
                raise DiscoveryError(f"the environment has no variable {self.variable}, which is to hold a secret")
            return os.environ[self.variable].strip()
        try:
            return Path(self.file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise DiscoveryError(f"the secret in {self.file} cannot be read: {error.strerror}") from error


def tls_of(uri: str, query: Query, *, default: bool = False, default_ca: str = "") -> Tls | None:
    """What the options ``tls``, ``ca``, ``cert`` and ``key`` say; naming a file turns TLS on. Raises PluginError."""
    ca, cert, key = (query.get(name, [""])[0] for name in ("ca", "cert", "key"))
    switch = query.get("tls", ["on" if default or ca or cert else "off"])[0]
    if switch not in ("on", "off") or (key and not cert) or (switch == "off" and (ca or cert)):
        raise PluginError(f"{uri}: expected tls=on or tls=off, files only with tls=on, and key only with cert")
    return Tls(ca or default_ca, cert, key) if switch == "on" else None


def secret_of(uri: str, query: Query, name: str) -> Secret | None:
    """What the options ``NAME_file`` and ``NAME_env`` say; None without either. Raises PluginError when it is away."""
    file, variable = (query.get(f"{name}_{kind}", [""])[0] for kind in ("file", "env"))
    if file and variable:
        raise PluginError(f"{uri}: expected one of {name}_file and {name}_env, not both")
    if not file and not variable:
        return None
    secret = Secret(file, variable)
    try:
        secret.read()
    except DiscoveryError as error:
        raise PluginError(f"{uri}: {error}") from error
    return secret


def secret_options(name: str) -> set[str]:
    """The options that ``secret_of`` reads."""
    return {f"{name}_file", f"{name}_env"}
