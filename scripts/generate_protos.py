"""Generate the protocol's Python code from its ``.proto`` files.

``python scripts/generate_protos.py [FOLDER]`` writes below FOLDER, or in place without it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = Path("mishards/wire/protos")


def generate(target: Path) -> int:
    """Write the modules and their type stubs below ``target`` and return the compiler's exit code."""
    names = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / PROTOS).glob("*.proto"))
    return int(protoc.main(["protoc", f"-I{ROOT}", f"--python_out={target}", f"--pyi_out={target}", *names]))


if __name__ == "__main__":
    sys.exit(generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT))
