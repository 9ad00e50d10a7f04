"""All rows, in their order."""

from __future__ import annotations

from faults import rows_of_discovery, rows_of_networks, rows_of_processes, rows_of_servers, rows_of_storage

_PARTS = (rows_of_discovery, rows_of_networks, rows_of_processes, rows_of_servers, rows_of_storage)

ROWS = sorted((row for part in _PARTS for row in part.ROWS), key=lambda row: row.number)
