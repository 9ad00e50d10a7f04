"""Every parser that eats bytes of a client, a peer or a file, and what it may answer: a result, or a refusal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fuzz import fuzz_files, fuzz_messages

from mishards.errors import MishardsError

CORPUS = Path(__file__).parent / "corpus"
"""``TARGET/NAME``: inputs that once broke something, or are the beginning of much else."""


@dataclass(frozen=True)
class Target:
    """One parser."""

    name: str
    parse: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    refusals: tuple[type[Exception], ...] = (MishardsError,)

    def survives(self, data: bytes) -> str:
        """Feed it; return how it ended. What is neither a result nor a refusal passes through."""
        try:
            result = self.parse(data)
        except self.refusals as refusal:
            return type(refusal).__name__
        return "ok" if result is None else f"ok {result}"

    def inputs(self) -> list[bytes]:
        """Seeds and corpus."""
        folder = CORPUS / self.name
        kept = sorted(folder.iterdir()) if folder.is_dir() else []
        return [*self.seeds, *(path.read_bytes() for path in kept)]


def _targets() -> dict[str, Target]:
    found = {}
    for module in (fuzz_messages, fuzz_files):
        for name, seeds in module.SEEDS.items():
            more = fuzz_files.REFUSALS.get(name, ()) if module is fuzz_files else ()
            found[name] = Target(name, getattr(module, name), seeds, (MishardsError, *more))
    return found


TARGETS: Mapping[str, Target] = MappingProxyType(_targets())
