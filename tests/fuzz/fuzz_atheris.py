"""One target guided by coverage: ``python -m fuzz.fuzz_atheris TARGET [-max_total_time=60 …]``, options of libFuzzer.

Needs atheris, which is not of the project's environment. What breaks a parser is kept in the corpus; what is merely new
goes to a folder beside it that is thrown away.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mishards", "milvus_node"]):
    from fuzz.fuzz_run import keep
    from fuzz.fuzz_targets import CORPUS, TARGETS


def main() -> None:
    """Fuzz until the options say it is enough."""
    target = TARGETS[sys.argv[1]]

    def one(data: bytes) -> None:
        try:
            target.survives(data)
        except BaseException:
            keep(target, data)
            raise

    new = tempfile.mkdtemp(prefix="fuzz-")
    for number, seed in enumerate(target.seeds):
        Path(new, f"seed-{number}").write_bytes(seed)
    known = [str(CORPUS / target.name)] if (CORPUS / target.name).is_dir() else []
    atheris.Setup([sys.argv[0], *sys.argv[2:], new, *known], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
