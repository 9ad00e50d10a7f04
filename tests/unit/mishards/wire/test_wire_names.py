from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mishards.errors import Code, IllegalCollectionName, MishardsError, PartitionError
from mishards.kinds import DEFAULT_TAG
from mishards.wire.names import (
    check_collection_name,
    check_dropped_tag,
    check_new_tag,
    check_partition_tag,
    match_tags,
    trim_tag,
)

UNKNOWN = "The specified partition does not exist"


@pytest.mark.parametrize("name", ["a", "_", "A9_", "_" * 255])
def test_a_well_formed_name_passes(name):
    check_collection_name(name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "Collection name should not be empty."),
        (
            "1bad-name",
            "Invalid collection name: 1bad-name. The first character of a collection name must be an underscore or "
            "letter.",
        ),
        (
            "a-b",
            "Invalid collection name: a-b. Collection name can only contain numbers, letters, and underscores.",
        ),
        ("a\n", "Invalid collection name: a\n. Collection name can only contain numbers, letters, and underscores."),
        ("aé", "Invalid collection name: aé. Collection name can only contain numbers, letters, and underscores."),
        (
            "1" * 256,
            f"Invalid collection name: {'1' * 256}. The length of a collection name must be less than 255 characters.",
        ),
    ],
)
def test_a_malformed_name_is_refused_with_the_protocols_text(name, text):
    with pytest.raises(IllegalCollectionName) as error:
        check_collection_name(name)
    assert str(error.value) == text


@given(st.text(max_size=300))
def test_names_are_ascii_words_of_at_most_255_bytes(name):
    fits = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,254}", name) is not None
    try:
        check_collection_name(name)
    except IllegalCollectionName:
        assert not fits
    else:
        assert fits


def test_blanks_around_a_tag_do_not_count():
    assert trim_tag(" \t\r\na b \n") == "a b"
    assert check_partition_tag("\tp1 ") == "p1"
    assert check_partition_tag(" " + "x" * 255) == "x" * 255


@pytest.mark.parametrize("check", [check_partition_tag, check_new_tag, check_dropped_tag])
def test_a_tag_needs_one_to_255_bytes(check):
    with pytest.raises(PartitionError) as error:
        check(" \t")
    assert str(error.value) == "Invalid partition tag: . Partition tag should not be empty."
    assert error.value.code is Code.UNEXPECTED_ERROR
    long = "é" * 128
    with pytest.raises(PartitionError) as error:
        check(long)
    assert str(error.value) == f"Invalid partition tag: {long}. Partition tag exceed max length(255)."


def test_the_built_in_partition_is_neither_created_nor_dropped():
    with pytest.raises(PartitionError) as error:
        check_new_tag(" _default ")
    assert str(error.value) == "'_default' is built-in partition tag"
    with pytest.raises(IllegalCollectionName) as dropped:
        check_dropped_tag("_default\n")
    assert str(dropped.value) == "Default partition cannot be dropped."


@pytest.mark.parametrize(
    ("tags", "existing", "selected"),
    [
        ([], ["p2", "p1"], (DEFAULT_TAG, "p2", "p1")),
        ([" p1\t"], ["p2", "p1"], ("p1",)),
        (["p1", "_default", "p1"], ["p1", "p2"], (DEFAULT_TAG, "p1")),
        (["p.*"], ["p2", "q", "p1"], ("p2", "p1")),
        ([".*"], ["p1"], ("p1",)),
        (["_default"], [], (DEFAULT_TAG,)),
        (["_defaul."], ["_default2", "_defaulx"], ("_defaulx",)),
        (["p"], ["p1", "p"], ("p",)),
        (["p1", "nope", "no.*pe"], ["p1"], ("p1",)),
        (["a.c"], ["abc", "a.c", "ac"], ("abc", "a.c")),
        (["a(b"], ["x", "a(b"], ("a(b",)),
        (["a(b", "x+"], ["xx", "a(b"], ("xx", "a(b")),
        ([r"\d{4}-[[:digit:]]+"], ["2020-1", "2020-", "20-1"], ("2020-1",)),
        (["日本|é."], ["日本", "ép", "é"], ("日本", "ép")),
    ],
)
def test_tags_select_by_equality_or_by_a_full_match(tags, existing, selected):
    assert match_tags(tags, existing) == selected


@pytest.mark.parametrize(
    ("tags", "existing"), [(["nope"], ["p1"]), ([".*"], []), (["_defaul."], ["p1"]), (["p"], ["p1"])]
)
def test_tags_that_select_nothing_at_all_are_an_error(tags, existing):
    with pytest.raises(PartitionError) as error:
        match_tags(tags, existing)
    assert str(error.value) == UNKNOWN


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("(a", "missing ): (a"),
        ("[z-a]", "invalid character class range: z-a"),
        ("*a", "no argument for repetition operator: *"),
        (r"(a)\1", r"invalid escape sequence: \1"),
        ("(?=a)b", "invalid perl operator: (?="),
    ],
)
def test_a_tag_that_is_no_pattern_and_no_partition_says_why(tag, reason):
    with pytest.raises(PartitionError) as error:
        match_tags(["p1", tag], ["p1"])
    assert str(error.value) == f"Invalid partition tag: {tag}. Not a regular expression: {reason}"


def test_a_blank_tag_is_an_error_whatever_the_others_select():
    with pytest.raises(PartitionError, match="should not be empty"):
        match_tags(["p1", " "], ["p1"])


def test_a_pattern_that_makes_backtracking_engines_hang_just_does_not_match():
    assert match_tags(["(a|a|a*)*b", "a{250}"], ["a" * 250]) == ("a" * 250,)


def test_patterns_that_would_take_seconds_are_refused():
    names = ["ab" * 100 + str(number) for number in range(4096)]
    with pytest.raises(PartitionError, match="too complex"):
        match_tags([f".*a.{{{number}}}.*b.{{{number}}}" for number in range(100)], names)
    with pytest.raises(PartitionError, match="too complex"):
        match_tags([f"v{number}.0" for number in range(5000)], names)
    with pytest.raises(PartitionError, match="too complex"):
        match_tags([f"(a|b)*a(a|b){{{number}}}" for number in range(10, 400)], ["a"])


def test_every_partition_may_be_named_though_its_name_reads_as_a_pattern():
    names = [f"v{number}.0" for number in range(4096)]
    assert match_tags(names, names) == tuple(names)


@given(
    st.lists(st.text("ab.|*x_", max_size=6), max_size=5), st.lists(st.text("abx", min_size=1, max_size=4), unique=True)
)
def test_tags_select_what_a_plain_reading_of_the_rule_selects(tags, existing):
    try:
        wanted = tuple(name for name in existing if any(tag == name or re.fullmatch(tag, name) for tag in tags))
    except re.error:
        wanted = ()
    if not tags:
        wanted = (DEFAULT_TAG, *existing)
    try:
        selected = match_tags(tags, existing)
    except PartitionError:
        selected = ()
    if all(_is_pattern(tag) for tag in tags):
        assert selected == wanted


def _is_pattern(text: str) -> bool:
    try:
        return bool(re.compile(text)) and bool(text)
    except re.error:
        return False


@given(st.lists(st.text(max_size=20), max_size=5), st.lists(st.text(st.characters(codec="utf-8"), max_size=20)))
def test_any_tags_give_partitions_or_an_error_of_the_project(tags, existing):
    try:
        selected = match_tags(tags, existing)
    except MishardsError:
        return
    assert set(selected) <= {DEFAULT_TAG, *existing}
