"""The virtual environment of the unmodified client, which cannot share ours.

pymilvus 1.1.2 wants a grpcio and a protobuf of its time. It is installed as published on CPython 3.6 to 3.9 where one
is found, otherwise on this interpreter with the oldest libraries that still install there. The environment is made once
and kept in the user's cache folder; processes that need it at the same time wait for the one that makes it.

``python -m harness.client_venv`` makes it and prints its interpreter.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_CLIENT = "pymilvus==1.1.2"
_MINUTES = 10


@dataclass(frozen=True)
class Recipe:
    """An interpreter, and what pip is told with it, one list of arguments a call."""

    python: Path
    version: str
    installs: tuple[tuple[str, ...], ...]


_AS_PUBLISHED = ((_CLIENT, "setuptools<82"),)
_ON_NEW_PYTHON = (
    ("--no-deps", _CLIENT),
    ("protobuf==3.20.*", "setuptools<82", "grpcio==1.62.3", "ujson", "requests", "six"),
)


def client_python() -> Path:
    """Return an interpreter that can import the client; make its environment first where there is none.

    Raises:
        RuntimeError: when no recipe works; the message has what each of them said.
    """
    failures = []
    for recipe in _recipes():
        try:
            return _environment(recipe)
        except subprocess.CalledProcessError as error:
            failures.append(f"{recipe.python}: {error}\n{error.stdout}")
    raise RuntimeError("the client's environment could not be made\n" + "\n".join(failures))


def _recipes() -> Iterator[Recipe]:
    """Yield the recipes for this machine, the better one first."""
    for version in ("3.9", "3.8", "3.7", "3.6"):
        for python in _installed(version):
            yield Recipe(python, version, _AS_PUBLISHED)
    yield Recipe(Path(sys.executable), f"{sys.version_info.major}.{sys.version_info.minor}", _ON_NEW_PYTHON)


def _installed(version: str) -> Iterator[Path]:
    """Yield the interpreters of a version, on the path or below a version manager's folder, that really start."""
    found = shutil.which(f"python{version}")
    candidates = [Path(found)] if found else []
    for folder, pattern in (
        (Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions", f"{version}.*"),
        (Path.home() / ".local/share/uv/python", f"cpython-{version}.*"),
    ):
        candidates += sorted(folder.glob(f"{pattern}/bin/python{version}"))
    for python in candidates:
        probe = [str(python), "-c", "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"]
        with contextlib.suppress(OSError):
            if subprocess.run(probe, capture_output=True, text=True, check=False).stdout.strip() == version:
                yield python


def _environment(recipe: Recipe) -> Path:
    """Return the interpreter of the recipe's environment, made now unless an earlier run finished it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mishards-tests"
    folder = cache / f"{_CLIENT.replace('==', '-')}-py{recipe.version}"
    python, finished = folder / "bin" / "python", folder / "finished"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run([recipe.python, "-m", "venv", folder])
            for arguments in recipe.installs:
                _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments])
            _run([python, "-c", "import milvus"])
            finished.touch()
    return python


def _run(command: Sequence[str | Path]) -> None:
    subprocess.run(
        [str(part) for part in command],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60 * _MINUTES,
    )


if __name__ == "__main__":
    print(client_python())  # noqa: T201 - this is what the command is for
