"""New inputs from old ones. Pure: the same seed makes the same inputs."""

from __future__ import annotations

import random
from collections.abc import Sequence

_NUMBERS = (0, 1, 127, 128, 255, 256, 32767, 65535, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, 1 << 63, (1 << 64) - 1)
_SIGNS = '"{[}],:(.*' + "\n \x00\x0a\x12\x1a💩"
_TEXTS = (*_SIGNS, "null", "true", "1e999", "-0", "NaN", "\\u0000", "\\ud800", "_default", ".*", "params")
_WORDS = (*(text.encode() for text in _TEXTS), b"\xff")
_LONGEST = 1 << 16


class Mutator:
    """Changes inputs at random."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def changed(self, inputs: Sequence[bytes]) -> bytes:
        """One of the inputs after one to six changes, some of which cross it with another."""
        data = bytearray(self._random.choice(inputs))
        for _ in range(self._random.choice((1, 1, 2, 3, 6))):
            self._change(data, inputs)
        return bytes(data[:_LONGEST])

    def _change(self, data: bytearray, inputs: Sequence[bytes]) -> None:
        r = self._random
        at = r.randrange(len(data) + 1)
        end = min(len(data), at + r.choice((1, 1, 2, 4, 8, 32)))
        kind = r.randrange(9)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << r.randrange(8)
        elif kind == 1:
            data[at:end] = r.randbytes(end - at)
        elif kind == 2:
            del data[at:end]
        elif kind == 3:
            data[at:at] = data[at:end] * r.choice((1, 2, 50))
        elif kind == 4:
            data[at:at] = r.choice(_WORDS) * r.choice((1, 1, 1, 3, 2000))
        elif kind == 5:
            width = r.choice((1, 2, 4, 8))
            number = r.choice(_NUMBERS) & ((1 << 8 * width) - 1)
            data[at : at + width] = number.to_bytes(width, r.choice(("little", "big")))
        elif kind == 6:
            data[at:end] = self._varint(r.choice(_NUMBERS))
        elif kind == 7:
            other = r.choice(inputs)
            cut = r.randrange(len(other) + 1)
            data[at:] = other[cut:]
        else:
            del data[at:]

    @staticmethod
    def _varint(number: int) -> bytes:
        found = bytearray()
        while number >= 0x80:
            found.append(number & 0x7F | 0x80)
            number >>= 7
        return bytes([*found, number])
