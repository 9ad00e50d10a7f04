"""The short form: every parser answers its corpus, and some hundred inputs more, by a result or a refusal.

``make fuzz`` is the long one.
"""

from __future__ import annotations

import os

import pytest
from fuzz.fuzz_mutate import Mutator
from fuzz.fuzz_targets import CORPUS, TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("MISHARDS_FUZZ_EXAMPLES", "0")) or settings.default.max_examples  # type: ignore[union-attr]


@pytest.mark.parametrize("name", TARGETS)
def test_a_parser_answers_its_corpus(name: str) -> None:
    target = TARGETS[name]
    first, *_ = [target.survives(data) for data in target.inputs()]
    assert first.startswith("ok")  # the seeds are what it is for


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=EXAMPLES)
@given(data=st.binary(max_size=200), seed=st.integers(0, 1 << 32))
def test_a_parser_answers_anything(name: str, data: bytes, seed: int) -> None:
    target = TARGETS[name]
    target.survives(data)
    target.survives(Mutator(seed).changed(target.seeds))


def test_the_corpus_is_of_targets_that_there_are_and_small() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} <= TARGETS.keys()
    assert sum(path.stat().st_size for path in files) < 200_000
