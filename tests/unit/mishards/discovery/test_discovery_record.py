from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mishards.discovery.api import NodeRecord, NodeRole, NodeState
from mishards.discovery.record import decode, encode
from mishards.errors import BadNodeRecord

RECORDS = st.builds(
    NodeRecord,
    name=st.text(min_size=1),
    role=st.sampled_from(NodeRole),
    address=st.text(min_size=1),
    weight=st.floats(0.001, 999),
    zone=st.text(),
    state=st.sampled_from(NodeState),
    capabilities=st.frozensets(st.text()),
)


@given(RECORDS)
def test_a_record_survives_the_way_through_json(record: NodeRecord) -> None:
    try:
        raw = encode(record)
    except UnicodeEncodeError:  # lone surrogates cannot be written
        return
    assert decode(raw, "x") == record


def test_fields_that_are_not_known_are_ignored_and_missing_ones_have_defaults() -> None:
    raw = json.dumps({"name": "a", "role": "writable", "address": "h:1", "colour": "red"}).encode()
    assert decode(raw, "x") == NodeRecord("a", NodeRole.WRITABLE, "h:1")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b'{"name": "a", "role": "writable"}',
        b'{"name": "", "role": "writable", "address": "h:1"}',
        b'{"name": 5, "role": "writable", "address": "h:1"}',
        b'{"name": "a", "role": "king", "address": "h:1"}',
        b'{"name": "a", "role": "writable", "address": "h:1", "weight": 0}',
        b'{"name": "a", "role": "writable", "address": "h:1", "weight": NaN}',
        b'{"name": "a", "role": "writable", "address": "h:1", "state": "asleep"}',
        b'{"name": "a", "role": "writable", "address": "h:1", "capabilities": 3}',
    ],
)
def test_what_is_no_record_is_refused_and_names_its_source(raw: bytes) -> None:
    with pytest.raises(BadNodeRecord, match="entry-7"):
        decode(raw, "entry-7")


@given(st.binary(max_size=60))
def test_no_bytes_whatever_do_anything_but_decode_or_be_refused(raw: bytes) -> None:
    try:
        decode(raw, "x")
    except BadNodeRecord:
        return
