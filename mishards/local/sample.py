"""The sample that ships with the package: 20,000 English words and their vectors.

Where the data comes from and how it was cut stands in ``sample/ORIGIN.md``. A word's id is its row.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """``words[i]`` belongs to ``vectors[i]``; ``vectors`` is float32[len(words), dim], every row of length 1."""

    words: tuple[str, ...]
    vectors: NDArray[np.float32]

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return int(self.vectors.shape[1])

    def id_of(self, word: str) -> int:
        """The row of a word; raises ValueError when the sample lacks it."""
        return self.words.index(word)


def load_sample() -> Sample:
    """Read the sample out of the installed package."""
    data = resources.files("mishards.local") / "sample" / "words.npz"
    with data.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return Sample(tuple(arrays["words"].tolist()), arrays["vectors"].astype(np.float32))
