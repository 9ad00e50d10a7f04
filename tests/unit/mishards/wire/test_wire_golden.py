from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf.json_format import ParseDict

from mishards.wire.replies import METHODS
from mishards.wire.search import SearchEnvelope, search_in_files

REQUESTS = json.loads((Path(__file__).parents[3] / "golden" / "wire" / "requests.json").read_text())
"""For each method a request and the bytes that the client pymilvus 1.1.2 sends for it."""


def test_every_method_has_a_golden_request():
    assert set(REQUESTS) == set(METHODS)


@pytest.mark.parametrize("method", sorted(REQUESTS))
def test_a_request_is_the_bytes_that_the_client_sends(method):
    raw = bytes.fromhex(REQUESTS[method]["hex"])
    message = ParseDict(REQUESTS[method]["message"], METHODS[method].request())
    assert METHODS[method].request.FromString(raw) == message
    assert message.SerializeToString() == raw


def test_a_forwarded_search_is_the_bytes_that_the_client_would_send():
    client = bytes.fromhex(REQUESTS["Search"]["hex"])
    assert search_in_files([1, "23"], client) == bytes.fromhex(REQUESTS["SearchInFiles"]["hex"])


def test_the_envelope_of_a_golden_search():
    envelope = SearchEnvelope.scan(bytes.fromhex(REQUESTS["Search"]["hex"]))
    assert (envelope.collection_name, envelope.partition_tags, envelope.topk, envelope.nq, envelope.params) == (
        "faces",
        ("2020", "p.*"),
        10,
        2,
        '{"nprobe":16}',
    )
