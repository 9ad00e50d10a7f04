r"""Collection names and partition tags: what is well-formed, and which partitions a search's tags select.

A tag of Search, Preload and Release selects partitions as a regular expression. The dialect is RE2
(https://github.com/google/re2/wiki/Syntax), which matches in time linear in its input whatever a client sends, and
agrees with the ECMAScript dialect of Milvus 1.x on everything but back-references, look-ahead and ``\cX``, ``\uXXXX``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from typing import Final

import re2  # type: ignore[import-untyped]  # the package ships no types

from mishards.errors import IllegalCollectionName, PartitionError
from mishards.kinds import DEFAULT_TAG
from mishards.wire.limits import MAX_NAME_BYTES, MAX_PARTITIONS

_BLANKS: Final = " \t\r\n"
_NAME_START: Final = re.compile(r"[A-Za-z_]")
_NAME: Final = re.compile(r"[A-Za-z0-9_]+")
_LITERAL_TAG: Final = re.compile(r"[^\\^$.|?*+()\[\]{}]+")  # no character that means something in a pattern
_BRANCHING: Final = re.compile(r"[|?*+{]")
_MAX_MATCHING_WORK: Final = 250_000_000
"""States that the patterns can be in at once times characters of the names: a second of matching at the worst."""


def check_collection_name(name: str) -> None:
    """Check the form of a collection name.

    Raises:
        IllegalCollectionName: empty, too long, or with a character that names do not have.
    """
    if not name:
        raise IllegalCollectionName("Collection name should not be empty.")
    start = f"Invalid collection name: {name}. "
    if len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        raise IllegalCollectionName(
            f"{start}The length of a collection name must be less than {MAX_NAME_BYTES} characters."
        )
    if not _NAME_START.match(name):
        raise IllegalCollectionName(f"{start}The first character of a collection name must be an underscore or letter.")
    if not _NAME.fullmatch(name):
        raise IllegalCollectionName(f"{start}Collection name can only contain numbers, letters, and underscores.")


def trim_tag(tag: str) -> str:
    """Strip the blanks that the protocol ignores around a partition tag."""
    return tag.strip(_BLANKS)


def check_partition_tag(tag: str) -> str:
    """Return the tag without the blanks around it.

    Raises:
        PartitionError: nothing is left, or too much.
    """
    tag = trim_tag(tag)
    if not tag:
        raise PartitionError(f"Invalid partition tag: {tag}. Partition tag should not be empty.")
    if len(tag.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        raise PartitionError(f"Invalid partition tag: {tag}. Partition tag exceed max length({MAX_NAME_BYTES}).")
    return tag


def check_new_tag(tag: str) -> str:
    """Return the trimmed tag of a partition to be created.

    Raises:
        PartitionError: malformed, or the built-in one.
    """
    if trim_tag(tag) == DEFAULT_TAG:
        raise PartitionError(f"'{DEFAULT_TAG}' is built-in partition tag")
    return check_partition_tag(tag)


def check_dropped_tag(tag: str) -> str:
    """Return the trimmed tag of a partition to be dropped.

    Raises:
        IllegalCollectionName: the built-in one; the protocol gives it this code.
        PartitionError: malformed.
    """
    if trim_tag(tag) == DEFAULT_TAG:
        raise IllegalCollectionName("Default partition cannot be dropped.")
    return check_partition_tag(tag)


def match_tags(tags: Iterable[str], existing: Sequence[str]) -> tuple[str, ...]:
    """Return the partitions that the tags of a search select: ``_default`` first, then in the order of ``existing``.

    ``existing`` are the created partitions, without ``_default``. No tag selects everything. ``_default`` selects
    the collection's own rows and nothing else does; any other tag selects the partitions that equal it or match it
    in full as a regular expression. Tags that select nothing are ignored while others select something.

    Raises:
        PartitionError: a malformed tag, one that equals no partition and is no regular expression, patterns that
            would take seconds to match, or nothing selected at all.
    """
    trimmed = [check_partition_tag(tag) for tag in tags]
    if not trimmed:
        return (DEFAULT_TAG, *existing)
    known = set(existing)
    selected = {tag for tag in trimmed if tag in known or tag == DEFAULT_TAG}
    patterns = {tag for tag in trimmed if tag != DEFAULT_TAG and not _LITERAL_TAG.fullmatch(tag)}
    if patterns:
        selected |= _match_patterns(patterns, existing, known)
    if not selected:
        raise PartitionError("The specified partition does not exist")
    head = (DEFAULT_TAG,) if DEFAULT_TAG in selected else ()
    return head + tuple(tag for tag in existing if tag in selected)


def _match_patterns(tags: set[str], existing: Sequence[str], known: set[str]) -> set[str]:
    """Return those of ``existing`` that match one of ``tags``: one automaton for all tags, one pass over each name."""
    too_complex = PartitionError(f"Invalid partition tags: {len(tags)} patterns are too complex to match; send fewer")
    if len(tags) > MAX_PARTITIONS:
        raise too_complex
    automaton = re2.Set.FullMatchSet(_quiet())
    states = 0
    for tag in sorted(tags):
        pattern = tag.encode("utf-8", "replace")
        try:
            size = re2.compile(pattern, _quiet()).programsize
        except re2.error as error:
            if tag in known:
                continue
            reason = error.args[0].decode("utf-8", "replace")
            raise PartitionError(f"Invalid partition tag: {tag}. Not a regular expression: {reason}") from error
        automaton.Add(pattern)
        states += size if _BRANCHING.search(tag) else 1
    if states * sum(map(len, existing)) > _MAX_MATCHING_WORK:
        raise too_complex
    try:
        automaton.Compile()
    except re2.error as error:
        raise too_complex from error
    return {name for name in existing if automaton.Match(name.encode())}


@functools.cache
def _quiet() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    return options
