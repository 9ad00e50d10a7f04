"""Sleep by ``select`` where a clock jumps: libfaketime 0.9.10 makes the call fail that Python 3.11 and newer sleep by.

Python imports this module when it starts, as it does any of this name on its path.
"""

from __future__ import annotations

import select
import time
from functools import partial

time.sleep = partial(select.select, [], [], [])  # type: ignore[assignment]  # returns something, which nobody uses
