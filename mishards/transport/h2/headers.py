"""Header blocks: HPACK bytes in, parsed values out, cached by their bytes; literal fields out (RFC 7541).

The only module of the project that imports ``hpack``. What is sent never touches the dynamic table, so blocks that do
not change are constants. What a block of the peer means depends on its bytes and on the dynamic table alone, so it is
decoded once for as long as that table stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, Generic, TypeVar

from hpack import Decoder, HPACKError
from hpack.table import HeaderTable

from mishards.transport.h2.frames import ConnectionFault, ErrorCode

T = TypeVar("T")

Fields = Sequence[tuple[bytes, bytes]]

OfLast = Callable[[bytes], "T | None"]
"""What fields say, by the value of the last one; None where that has to be looked at."""

Vary = Callable[[T, bytes], "OfLast[T] | None"]
"""From what fields say, and the name of the last one, to what they say with another value there.

None where more than that value depends on it.
"""

_CACHED_BLOCKS: Final = 256
_CACHED_BLOCK_BYTES: Final = 1024
"""A longer block is decoded each time, so that a peer cannot fill the memory with them."""

EMPTY_TABLE: Final = b"\x20"
"""Before the first field of a block: the sender's dynamic table has no room from here on (RFC 7541, section 6.3)."""

_LENGTHS: Final = 16
_OF_ONE_LENGTH: Final = 4
"""Lengths of blocks that differ in their last value only, and how many such are remembered of one length."""

_PLAIN_FIELDS: Final = 64
"""A block with more is left to the decoder, which counts what it says against the bound of a list."""
_STATIC: Final[list[tuple[bytes, bytes] | None]] = [None, *HeaderTable.STATIC_TABLE]
"""Fields by their index in the static table."""

# A name has no capital letter, and a colon at its beginning at most (RFC 9113, section 8.2.1).
_NAME: Final = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+")


_SIZES: Final = [bytes((size,)) for size in range(127)]
"""Lengths of strings, as far as one byte does."""


class _WatchedTable(HeaderTable):
    """A dynamic table that counts its changes."""

    def __init__(self) -> None:
        self.generation = 0
        super().__init__()

    def add(self, name: bytes, value: bytes) -> None:
        self.generation += 1
        super().add(name, value)

    def _shrink(self) -> None:
        self.generation += 1
        super()._shrink()


class HeaderDecoder(Generic[T]):
    """Decodes the blocks of one connection, in order, each into what ``parse`` makes of its fields."""

    __slots__ = ("_decoder", "_forms", "_generation", "_parse", "_parsed", "_plain_bytes", "_table", "_vary")

    def __init__(self, parse: Callable[[Fields], T], max_list_bytes: int, vary: Vary[T] | None = None) -> None:
        """``parse`` and ``vary`` must be pure; the bound is that of SETTINGS_MAX_HEADER_LIST_SIZE."""
        self._parse = parse
        self._vary = vary
        self._forms: dict[int, tuple[tuple[bytes, OfLast[T]], ...]] = {}
        self._decoder = Decoder(max_list_bytes)
        self._table = _WatchedTable()
        self._decoder.header_table = self._table
        self._generation = 0
        self._parsed: dict[bytes, T] = {}
        # What a plain block says is no larger than its bytes and what the static table and the overhead add.
        self._plain_bytes = min(_CACHED_BLOCK_BYTES, max_list_bytes - 96 * _PLAIN_FIELDS)

    def decode(self, block: bytes) -> T:
        """What a block says. Raises ConnectionFault, after which the connection's table is of no use."""
        parsed = self._parsed.get(block)
        if parsed is not None:
            return parsed
        for head, of_last in self._forms.get(len(block), ()):
            if block.startswith(head):
                parsed = of_last(block[len(head) :])
                if parsed is not None:
                    return parsed
        return self._decoded(block)

    def _decoded(self, block: bytes) -> T:
        before = self._table.generation
        fields = plain_fields(block) if len(block) <= self._plain_bytes else None
        is_plain = fields is not None
        if fields is None:
            try:
                fields = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
            except HPACKError as error:
                text = f"a header block cannot be decoded: {error}"
                raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, text) from error
        parsed = self._parse(fields)
        if is_plain and fields and self._vary is not None:
            self._remember(block, *fields[-1], self._vary(parsed, fields[-1][0]))
        if self._table.generation != self._generation:
            self._parsed.clear()
            self._generation = self._table.generation
        if self._table.generation == before and len(block) <= _CACHED_BLOCK_BYTES:
            if len(self._parsed) >= _CACHED_BLOCKS:
                self._parsed.clear()
            self._parsed[block] = parsed
        return parsed

    def _remember(self, block: bytes, name: bytes, value: bytes, of_last: OfLast[T] | None) -> None:
        """Remember what a plain block says but for its last value, which ends it unless it is an entry of a table."""
        if of_last is None or not value or not block.endswith(value):
            return
        others = self._forms.get(len(block), ())
        if not others and len(self._forms) >= _LENGTHS:
            self._forms.clear()
        self._forms[len(block)] = ((block[: -len(value)], of_last), *others[: _OF_ONE_LENGTH - 1])


def plain_fields(block: bytes) -> Fields | None:
    """The fields of a block that names none of the dynamic table, changes nothing there, and has no Huffman code.

    That is what programs send that take the trouble to be quick, also where a value differs from call to call. None of
    any other block, of a broken one, and of one with long fields or very many.
    """
    fields: list[tuple[bytes, bytes]] = []
    at, end = 0, len(block)
    try:
        while at < end:
            first, at = block[at], at + 1
            if first >= 0x80:  # RFC 7541, section 6.1
                known = _STATIC[first & 0x7F]
                if known is None:
                    return None
                fields.append(known)
                continue
            if first >= 0x20:  # enters the dynamic table, or bounds it
                return None
            index = first & 0x0F  # sections 6.2.2 and 6.2.3
            if index == 0x0F:
                index, at = index + block[at], at + 1
            known = _STATIC[index]
            if known is None:
                size, at = block[at], at + 1
                name, at = block[at : at + size], at + size
            else:
                size, name = 0, known[0]
            if size >= 0x7F or block[at] >= 0x7F:  # longer, or in Huffman's code
                return None
            size, at = block[at], at + 1
            fields.append((name, block[at : at + size]))
            at += size
    except IndexError:
        return None
    return fields if at == end and len(fields) <= _PLAIN_FIELDS else None


@lru_cache(maxsize=1024)
def _is_name(name: bytes) -> bool:
    return _NAME.fullmatch(name) is not None


def is_well_formed(fields: Fields) -> bool:
    """Do names and values have only the characters that HTTP/2 allows, and pseudo-fields come first?"""
    regular = False
    for name, value in fields:
        if not _is_name(name) or b"\n" in value or b"\r" in value or b"\0" in value:
            return False
        if name[0] != 0x3A:
            regular = True
        elif regular:
            return False
    return True


def field(name: bytes, value: bytes) -> bytes:
    """A field as a literal that enters no table."""
    return b"\x00" + _integer(len(name), 7) + name + _integer(len(value), 7) + value


def field_of_static(index: int, value: bytes) -> bytes:
    """The same, with the name of an entry of the static table (RFC 7541, appendix A)."""
    return _integer(index, 4) + _integer(len(value), 7) + value


def text_fields(pairs: Sequence[tuple[str, str]]) -> bytes:
    """Metadata as fields.

    Raises:
        ValueError: a key or a value that HTTP/2 cannot carry.
    """
    pieces: list[bytes] = []
    for key, text in pairs:
        value = text.encode("latin-1")
        if b"\n" in value or b"\r" in value or b"\0" in value:
            raise ValueError(f"metadata value {text!r} cannot be sent: it is of more than one line")
        size = len(value)
        pieces += (_name(key), _SIZES[size] if size < len(_SIZES) else _integer(size, 7), value)
    return b"".join(pieces)


@lru_cache(maxsize=256)
def _name(key: str) -> bytes:
    """The beginning of a literal field: processes send few different keys."""
    name = key.encode("latin-1")
    if not _NAME.fullmatch(name) or name[0] == 0x3A:
        raise ValueError(f"metadata {key!r} cannot be sent: keys are in lower case, without spaces")
    return b"\x00" + _integer(len(name), 7) + name


def _integer(number: int, prefix_bits: int) -> bytes:
    """An integer with a prefix of so many bits, the bits before it 0 (RFC 7541, section 5.1)."""
    most = (1 << prefix_bits) - 1
    if number < most:
        return bytes((number,))
    out = bytearray((most,))
    number -= most
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
