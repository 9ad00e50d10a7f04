"""All rows, in their order."""

from __future__ import annotations

from faults import rows_of_processes

ROWS = sorted((*rows_of_processes.ROWS,), key=lambda row: row.number)
