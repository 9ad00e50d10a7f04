"""What this process may do: root in a container is not root everywhere."""

from __future__ import annotations

import enum
import re
from pathlib import Path


class Capability(enum.IntEnum):
    """Of Linux, by their numbers in ``linux/capability.h``."""

    NET_ADMIN = 12
    SYS_ADMIN = 21


def lacks(capability: Capability) -> bool:
    """May this process not do it?"""
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return found is None or not int(found[1], 16) >> capability & 1
