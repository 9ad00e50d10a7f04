"""Who is let in, to do what, how often; and that no secret is told."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mishards.deadline import Deadline
from mishards.errors import ConfigError, Forbidden, MalformedRequest, MishardsError, Overloaded, Unauthenticated
from mishards.security.guard import Guard, host_of
from mishards.security.options import SecurityOptions
from mishards.security.roles import AllowLists, Role, check_entries
from mishards.security.tokens import Tokens, digest_of, found_among, parse_tokens
from mishards.transport.api import Call
from mishards.wire.protos import milvus_pb2
from mishards.wire.replies import METHODS

READER, WRITER, ADMIN = "reader-secret-0001", "writer-secret-0002", "admin-secret-00003"
TOKENS = f"app read {READER}; loader write {WRITER}; root admin {ADMIN}"
OPTIONS = SecurityOptions(tokens=TOKENS, certificate_roles={"router": Role.ADMIN, "probe": Role.READ})


def call(
    method: str, token: str = "", *, cmd: str = "", names: tuple[str, ...] = (), peer: str = "ipv4:9.9.9.9:1"
) -> Call:
    request = milvus_pb2.Command(cmd=cmd).SerializeToString() if method == "Cmd" else b""
    metadata = [("request_id", "7")] + ([("authorization", f"Bearer {token}")] if token else [])
    return Call(method, request, metadata, Deadline.never(), peer, peer_names=names)


def ask(guard: Guard, asked: Call) -> Call:
    with guard.admitted(asked):
        return asked


@pytest.mark.parametrize(
    ("method", "cmd", "least"),
    [
        ("Search", "", Role.READ),
        ("GetVectorsByID", "", Role.READ),
        ("Cmd", "version", Role.READ),
        ("Insert", "", Role.WRITE),
        ("CreateCollection", "", Role.WRITE),
        ("DropCollection", "", Role.ADMIN),
        ("ReloadSegments", "", Role.ADMIN),
        ("Cmd", "set_config cache.cache_size 1", Role.ADMIN),
        ("Cmd", "versionx", Role.ADMIN),
        ("Cmd", "", Role.ADMIN),
        ("NoSuchMethod", "", Role.ADMIN),
    ],
)
def test_each_role_may_do_its_own_and_what_those_below_it_may(method: str, cmd: str, least: Role) -> None:
    guard, order = Guard(OPTIONS), list(Role)
    for role, token in ((Role.READ, READER), (Role.WRITE, WRITER), (Role.ADMIN, ADMIN)):
        asked = call(method, token, cmd=cmd)
        if order.index(role) >= order.index(least):
            ask(guard, asked)
        else:
            with pytest.raises(Forbidden, match=f"needs the role {least.value}; .* has the role {role.value}"):
                ask(guard, asked)
    with pytest.raises(Unauthenticated, match="authorization: Bearer TOKEN"):
        ask(guard, call(method, cmd=cmd))


def test_every_method_is_for_somebody_and_none_for_everybody() -> None:
    guard = Guard(OPTIONS)
    for method in METHODS:
        ask(guard, call(method, ADMIN, cmd="x"))
        with pytest.raises(Unauthenticated):
            ask(guard, call(method, cmd="x"))


def test_a_name_in_a_certificate_gives_its_role_and_others_none() -> None:
    guard = Guard(OPTIONS)
    assert ask(guard, call("DropCollection", names=("localhost", "router"))).notes == {"client": "router"}
    ask(guard, call("DropCollection", names=("probe", "router")))
    with pytest.raises(Forbidden):
        ask(guard, call("Insert", names=("probe",)))
    with pytest.raises(Unauthenticated):
        ask(guard, call("Search", names=("somebody",)))
    with pytest.raises(Unauthenticated):  # a wrong token is not made good by a certificate
        ask(guard, call("Search", "not-a-token-at-all", names=("router",)))


def test_a_token_leaves_the_metadata_and_its_name_is_noted() -> None:
    asked = ask(Guard(OPTIONS), call("Search", READER))
    assert list(asked.metadata) == [("request_id", "7")]
    assert asked.notes == {"client": "app"}


def test_a_malformed_command_or_authorization_is_refused() -> None:
    guard = Guard(OPTIONS)
    asked = call("Cmd", READER)
    asked.request = b"\xff\xff"
    with pytest.raises(MalformedRequest):
        ask(guard, asked)
    asked = call("Search")
    asked.metadata = [("authorization", "Basic dXNlcjpwYXNz")]
    with pytest.raises(Unauthenticated, match="form"):
        ask(guard, asked)


def test_pages_are_shown_by_the_lists_too() -> None:
    guard = Guard(OPTIONS)
    guard.check_page("/healthz", None, ())
    guard.check_page("/explain/{collection}", f"bearer {READER}", ())
    guard.check_page("/metrics", None, ("probe",))
    with pytest.raises(Unauthenticated):
        guard.check_page("/metrics", None, ())
    with pytest.raises(Forbidden):
        guard.check_page("/secret", f"Bearer {WRITER}", ())
    Guard(SecurityOptions()).check_page("/secret", None, ())


def test_lists_can_be_changed_and_nonsense_in_them_is_refused() -> None:
    guard = Guard(
        replace(OPTIONS, anonymous_allows=("Cmd:version", "http:/metrics"), read_allows=("Cmd",), admin_allows=())
    )
    ask(guard, call("Cmd", cmd="version"))
    guard.check_page("/metrics", None, ())
    ask(guard, call("Cmd", READER, cmd="set_config a b"))
    with pytest.raises(Forbidden, match="a role that no list gives"):
        ask(guard, call("DropCollection", ADMIN))
    with pytest.raises(ValueError, match="Serach"):
        SecurityOptions(read_allows=("Serach",))
    check_entries(("*", "Insert", "Cmd:get_config", "http:/x"))


@given(st.text(max_size=30), st.text(max_size=30))
def test_an_allowed_command_allows_its_words_and_no_other(words: str, rest: str) -> None:
    lists = AllowLists({Role.READ: (f"Cmd:{words}",)})
    wish = f"Cmd:{rest}"
    expected = rest == words or rest.startswith(words + " ")
    assert lists.allows(Role.READ, wish) is expected


# --- tokens ---


def test_a_file_of_tokens_is_followed_and_a_broken_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mishards.security.tokens._LOOK_S", 0.0)
    file = tmp_path / "tokens"
    hashed = hashlib.sha256(WRITER.encode()).hexdigest()
    file.write_text(f"# who may\n\napp read {READER}\nloader write sha256:{hashed}\n")
    tokens = Tokens(file=file)
    found = tokens.find(WRITER)
    assert found is not None
    assert (found.name, found.role) == ("loader", Role.WRITE)
    file.write_text(f"app read {ADMIN}\n")
    assert tokens.find(READER) is None
    assert tokens.find(ADMIN) is not None
    file.write_text(f"app king {READER} \n")
    with caplog.at_level(logging.DEBUG):
        assert tokens.find(ADMIN) is not None
        file.unlink()
        assert tokens.find(ADMIN) is not None
    assert "the role must be one of" in caplog.text
    assert READER not in caplog.text


@pytest.mark.parametrize(
    "line",
    [
        f"app {READER}",
        f"app king {READER}",
        "app read tooshort",
        f"ä read {READER}",
        f"{'n' * 65} read {READER}",
        f"app read sha256:{READER}",
        f"app read {READER} more",
    ],
)
def test_a_line_that_is_no_token_is_named_by_its_number_and_not_shown(line: str) -> None:
    with pytest.raises(ConfigError, match=r"FILE:2") as caught:
        parse_tokens(f"# tokens\n{line}\n", "FILE")
    assert READER not in str(caught.value)
    assert "tooshort" not in str(caught.value)


def test_a_name_that_is_there_twice_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="twice"):
        parse_tokens(f"app read {READER}\napp admin {ADMIN}", "FILE")
    with pytest.raises(ConfigError, match="cannot be read"):
        Guard(SecurityOptions(tokens_file=str(tmp_path / "none")))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        Tokens(file=tmp_path / "bytes")


@given(st.text(max_size=60))
def test_only_the_token_itself_is_found(presented: str) -> None:
    tokens = parse_tokens(TOKENS.replace(";", "\n"), "t")
    found = found_among(tokens, presented)
    assert (found is not None) is (presented in (READER, WRITER, ADMIN))
    assert len(digest_of(presented)) == 32


def test_no_secret_is_in_an_error_a_note_or_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    guard, wrong = Guard(OPTIONS), "wrong-secret-000004"
    told = [repr(parse_tokens(TOKENS.replace(";", "\n"), "t"))]
    with caplog.at_level(logging.DEBUG):
        for token in (READER, wrong):
            asked = call("Cmd", token, cmd=f"set_config auth.password {WRITER}")
            with pytest.raises(MishardsError) as caught:
                ask(guard, asked)
            told += [str(caught.value), repr(caught.value), str(asked.notes), str(asked.metadata)]
    for secret in (READER, WRITER, ADMIN, wrong):
        assert secret not in "".join(told) + caplog.text


# --- limits ---


def test_without_settings_there_is_nothing_to_decide() -> None:
    guard = Guard(SecurityOptions())
    assert guard.idle
    ask(guard, call("DropCollection"))


def test_calls_of_one_client_are_limited_and_those_of_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("mishards.security.guard.time.monotonic", lambda: now[0])
    guard = Guard(replace(OPTIONS, client_calls_per_s=2.0, client_burst=3, client_max_calls=2))
    for _ in range(3):
        ask(guard, call("Search", READER))
    with pytest.raises(Overloaded, match="more than 2 calls a second"):
        ask(guard, call("Search", READER))
    ask(guard, call("Search", WRITER))
    now[0] += 0.5
    ask(guard, call("Search", READER))
    now[0] += 100
    with guard.admitted(call("Search", READER)), guard.admitted(call("Search", READER)):
        with pytest.raises(Overloaded, match="under way"):
            ask(guard, call("Search", READER))
        ask(guard, call("Search", ADMIN))
    ask(guard, call("Search", READER))


def test_guesses_of_tokens_are_limited_by_the_machine_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mishards.security.guard.time.monotonic", lambda: 5.0)
    guard = Guard(replace(OPTIONS, client_calls_per_s=1.0, client_burst=2))
    for number in range(2):
        with pytest.raises(Unauthenticated):
            ask(guard, call("Search", f"a-guess-of-a-token-{number}", peer=f"ipv4:9.9.9.9:{number}"))
    with pytest.raises(Overloaded):
        ask(guard, call("Search", "a-guess-of-a-token-3", peer="http:9.9.9.9:77"))
    ask(guard, call("Search", READER))


def test_without_tokens_a_client_is_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mishards.security.guard.time.monotonic", lambda: 5.0)
    guard = Guard(SecurityOptions(client_calls_per_s=1.0, client_burst=1))
    ask(guard, call("DropCollection"))
    with pytest.raises(Overloaded):
        ask(guard, call("DropCollection", peer="ipv4:9.9.9.9:2"))
    ask(guard, call("DropCollection", peer="ipv6:[::1]:2"))
    assert [host_of(peer) for peer in ("ipv6:[::1]:2", "unix:", "http:1.2.3.4:5", "")] == [
        "[::1]",
        "unix:",
        "1.2.3.4",
        "",
    ]
