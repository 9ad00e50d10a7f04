"""What counts as open to strangers, and the settings of TLS and access."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mishards.errors import ConfigError, StartError
from mishards.options import Given, load
from mishards.security.exposure import exposure, http_tls, is_loopback, warn_if_exposed
from mishards.security.options import NodeAccessOptions, SecurityOptions, TlsOptions
from mishards.security.roles import Role
from mishards.security.tls import ClientTls, ServerTls, names_of


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:19530", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:0", True),
        ("unix:/run/x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        (":1", False),
        ("10.0.0.1:1", False),
        ("db.example:1", False),
    ],
)
def test_what_only_this_machine_can_reach(address: str, local: bool) -> None:
    assert is_loopback(address) is local
    assert bool(exposure([address, ""], encrypted=False, authenticated=True)) is not local


def test_the_warning_is_one_line_that_names_addresses_and_settings(caplog: pytest.LogCaptureFixture) -> None:
    both = ("0.0.0.0:19530", "127.0.0.1:19121", "[::]:1")
    with caplog.at_level(logging.INFO):
        warn_if_exposed(both, TlsOptions(), SecurityOptions())
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    text = record.getMessage()
    assert "\n" not in text
    for word in ("INSECURE", "0.0.0.0:19530", "[::]:1", "tls.certificate", "tls.key", "security.tokens_file"):
        assert word in text
    assert "127.0.0.1" not in text


def test_there_is_no_warning_where_both_are_set(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        warn_if_exposed(["0.0.0.0:1"], TlsOptions("c", "k"), SecurityOptions(tokens_file="t"))
        warn_if_exposed(["0.0.0.0:1"], TlsOptions("c", "k", "ca"), SecurityOptions())
    assert not caplog.records


def test_settings_that_go_together_are_given_together(tmp_path: Path) -> None:
    for wrong in ({"certificate": "c"}, {"key": "k"}, {"client_ca": "a"}):
        with pytest.raises(ValueError, match=r"tls\."):
            TlsOptions(**wrong)
    for wrong in (
        {"certificate": "c"},
        {"certificate": "c", "key": "k"},
        {"server_name": "n"},
        {"token": "t", "token_file": "f"},
    ):
        with pytest.raises(ValueError, match=r"certificate|token"):
            NodeAccessOptions(**wrong)
    assert TlsOptions().server is None
    assert TlsOptions("c", "k", "a").server == ServerTls(Path("c"), Path("k"), Path("a"))
    assert TlsOptions("c", "k").server == ServerTls(Path("c"), Path("k"))
    assert NodeAccessOptions().client is None
    assert NodeAccessOptions(ca="a", server_name="n").client == ClientTls(Path("a"), server_name="n")
    assert NodeAccessOptions("a", "c", "k").client == ClientTls(Path("a"), Path("c"), Path("k"))
    assert http_tls(TlsOptions(), SecurityOptions()) is None
    with pytest.raises(StartError, match="none"):
        http_tls(TlsOptions(str(tmp_path / "none"), "k"), SecurityOptions())


def test_a_routers_token_comes_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(" a-token-of-a-router\n")
    assert NodeAccessOptions(token_file=str(file)).bearer() == "a-token-of-a-router"
    assert NodeAccessOptions(token="given").bearer() == "given"  # noqa: S106 - none that opens anything
    file.write_bytes("geheimnis-ä".encode())
    for path in (file, tmp_path / "none"):
        with pytest.raises(ConfigError, match="token_file") as caught:
            NodeAccessOptions(token_file=str(path)).bearer()
        assert "geheimnis" not in str(caught.value)


def test_settings_come_as_text_and_secrets_are_not_shown() -> None:
    given = {"tokens": "app read a-secret-of-an-app", "certificate_roles": "router=admin,probe=read"}
    loaded = load(SecurityOptions, {key: Given(value, "test") for key, value in given.items()})
    assert loaded.options.certificate_roles == {"router": Role.ADMIN, "probe": Role.READ}
    assert "a-secret-of-an-app" not in str(loaded.describe())
    with pytest.raises(ConfigError, match="certificate_roles"):
        load(SecurityOptions, {"certificate_roles": Given("router=king", "test")})


def test_names_of_a_certificate_are_its_common_name_and_the_alternative_ones() -> None:
    certificate = {
        "subject": ((("organizationName", "us"),), (("commonName", "router"),)),
        "subjectAltName": (("DNS", "router"), ("DNS", "r.example"), ("IP Address", "10.0.0.1")),
    }
    assert names_of(certificate) == ("router", "r.example", "10.0.0.1")
    assert names_of(None) == names_of({}) == ()
