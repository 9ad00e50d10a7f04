"""Every metric of a node, declared."""

from __future__ import annotations

from mishards.metrics.declare import LONG_S, Metric, counter, gauge, histogram

# --- calls -----------------------------------------------------------------------------------------------------------

REQUESTS = counter("milvus_node_requests_total", "Calls that ended, by the code they got.", "method", "code")
REQUEST_SECONDS = histogram("milvus_node_request_duration_seconds", "Time from a call's arrival to its end.", "method")
STAGE_SECONDS = histogram(
    "milvus_node_search_stage_duration_seconds",
    "Time of one stage of a search: wait (for a thread), check (decode, look up), search (in line and at work).",
    "stage",
)
IN_PROGRESS = gauge("milvus_node_requests_in_progress", "Calls running or waiting, by the threads they need.", "pool")
LOG_SKIPPED = counter("milvus_node_access_log_skipped_total", "Lines of the access log left out: there were many.")

# --- segments in memory ----------------------------------------------------------------------------------------------

CACHE_HITS = counter("milvus_node_cache_hits_total", "Uses of a segment that was in memory.")
CACHE_LOADS = counter("milvus_node_cache_loads_total", "Segments read from the shared folder into memory.")
CACHE_EVICTIONS = counter("milvus_node_cache_evictions_total", "Segments put out of memory.")
CACHE_BYTES = gauge("milvus_node_cache_bytes", "Memory that loaded segments take.", unit="bytes")
CACHE_CAPACITY = gauge("milvus_node_cache_capacity_bytes", "Memory that they may take.", unit="bytes")
CACHE_SEGMENTS = gauge("milvus_node_cache_segments", "Segments in memory.")
CACHE_ROWS = gauge("milvus_node_cache_rows", "Rows in memory, deleted ones counted.")
LOAD_SECONDS = histogram("milvus_node_cache_load_duration_seconds", "Time to read a segment into memory.")

# --- writing (the writable node) -------------------------------------------------------------------------------------

WAL_BYTES = gauge("milvus_node_wal_bytes", "Size of the write-ahead log.", unit="bytes")
WAL_QUEUE = gauge("milvus_node_wal_queue_bytes", "Records that wait to be written to it.", unit="bytes")
WAL_SYNC_SECONDS = histogram("milvus_node_wal_sync_duration_seconds", "Time of one sync of the log to disk.")
BUFFER_BYTES = gauge("milvus_node_insert_buffer_bytes", "Accepted rows that no segment has yet.", unit="bytes")
TASK_SECONDS = histogram(
    "milvus_node_task_duration_seconds", "Time of one flush, merge, compaction or index build.", "task", buckets=LONG_S
)
TASK_FAILURES = counter("milvus_node_task_failures_total", "Such work that failed.", "task")
LEADER_EPOCH = gauge("milvus_node_leader_epoch", "Epoch in which this node may write; 0 where none is elected.")

# --- catalog, loops, the node itself ---------------------------------------------------------------------------------

SNAPSHOT_AGE = gauge("milvus_node_snapshot_age_seconds", "Age of the snapshot of the catalog.", unit="seconds")
REFRESHES = counter("milvus_node_snapshot_refreshes_total", "Reads of the catalog that ended.", "result")
REFRESH_SECONDS = counter(
    "milvus_node_snapshot_refresh_seconds_total", "Time that reading the catalog took.", unit="seconds"
)
COLLECTIONS = gauge("milvus_node_collections", "Collections in the catalog.")
SEGMENTS = gauge("milvus_node_segments", "Segments in the catalog: raw, waiting for their index, indexed.", "state")
ROWS = gauge("milvus_node_rows", "Rows in the catalog, deleted ones not counted.")
BYTES = gauge("milvus_node_bytes", "Bytes of the files that the catalog names.", unit="bytes")
LOOP_AGE = gauge(
    "milvus_node_loop_age_seconds", "Time since a loop in the background last succeeded.", "loop", unit="seconds"
)
LOOP_FAILURES = counter("milvus_node_loop_failures_total", "Rounds of a loop in the background that failed.", "loop")
DROPPED_SPANS = counter("milvus_node_dropped_spans_total", "Spans of traces that could not be sent.")
BUILD = gauge("milvus_node_build_info", "1, with the version of the program and the node's role.", "version", "role")

ALL: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""In the order above."""
