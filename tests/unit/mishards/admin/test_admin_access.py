"""Who may change things through the admin API."""

from __future__ import annotations

import pytest

from mishards.admin.access import check_may_write
from mishards.rest.errors import BadHttpRequest

HERE = {"host": "127.0.0.1:19121"}


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        (HERE, "127.0.0.1"),
        ({"host": "localhost:19121"}, "127.8.0.1"),
        ({"host": "[::1]:19121", "origin": "http://[::1]:19121"}, "::1"),
        ({**HERE, "origin": "http://127.0.0.1:19121"}, "127.0.0.1"),
    ],
)
def test_this_machine_may(headers: dict[str, str], client: str) -> None:
    check_may_write(headers, client, access_controlled=False)


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        (HERE, "10.0.0.1"),
        (HERE, ""),
        ({**HERE, "x-forwarded-for": "10.0.0.1"}, "127.0.0.1"),
        ({**HERE, "forwarded": "for=10.0.0.1"}, "127.0.0.1"),
        ({**HERE, "origin": "https://example.com"}, "127.0.0.1"),
        ({**HERE, "origin": "null"}, "127.0.0.1"),
        ({**HERE, "origin": "http://127.0.0.1:8080"}, "127.0.0.1"),
        ({"host": "rebound.example.com:19121"}, "127.0.0.1"),
        ({"host": "rebound.example.com", "origin": "http://rebound.example.com"}, "127.0.0.1"),
        ({}, "127.0.0.1"),
    ],
)
def test_others_and_pages_of_others_may_not(headers: dict[str, str], client: str) -> None:
    with pytest.raises(BadHttpRequest, match="Changes are taken from") as refused:
        check_may_write(headers, client, access_controlled=False)
    assert refused.value.status == 403


def test_who_has_shown_a_token_may_from_anywhere_but_not_from_a_page_of_others() -> None:
    check_may_write({"host": "router.example.com", "x-forwarded-for": "10.0.0.1"}, "10.0.0.1", access_controlled=True)
    with pytest.raises(BadHttpRequest, match="page of"):
        check_may_write({**HERE, "origin": "https://example.com"}, "127.0.0.1", access_controlled=True)
