"""The images: two stages, no root, a health check, nothing missing that the wheel is built from."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pytest

from harness.deployed import DEPLOY
from harness.tools import developer_tool

ROOT = DEPLOY.parent
IMAGES = sorted((DEPLOY / "docker").glob("*.Dockerfile"))
each_image = pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)


def instructions(path: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in text.splitlines() if line.strip()]


@each_image
def test_hadolint_finds_no_fault(path: Path) -> None:
    done = subprocess.run(
        [developer_tool("hadolint"), "--no-color", path], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@each_image
def test_what_runs_has_no_compiler_no_root_and_a_health_check(path: Path) -> None:
    found = instructions(path)
    stages = [number for number, (name, _) in enumerate(found) if name == "FROM"]
    assert len(stages) == 2
    running = dict(found[stages[1] :])
    assert running["USER"] == "10001"
    assert "/healthz" in running["HEALTHCHECK"]
    assert running["STOPSIGNAL"] == "SIGTERM"
    assert not any(name == "COPY" or "apt-get" in rest for name, rest in found[stages[1] :])


@each_image
def test_all_that_the_wheel_is_built_from_is_copied(path: Path) -> None:
    copied = {word for name, rest in instructions(path) if name == "COPY" for word in rest.split()[:-1]}
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    packages = setup["options"]["packages"].split()
    tops = {
        "plugins" if name.startswith("mishards_plugins") else name.partition(".")[0] for name in packages if name != "#"
    }
    assert {name for name in tops if (ROOT / name).is_dir()} <= copied
    assert {
        "setup.py",
        "setup.cfg",
        "pyproject.toml",
        setup["metadata"]["long_description"].removeprefix("file: "),
    } <= copied
    assert all((ROOT / name).exists() for name in copied)


@each_image
def test_both_stages_install_the_same_extras_and_they_exist(path: Path) -> None:
    first, second = (
        set(names.split(",")) for names in re.findall(r"(?:\.|mishards)\[(\S+)\]", path.read_text("utf-8"))
    )
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert first == second <= set(setup["options.extras_require"])
