"""Every metric of a router, declared."""

from __future__ import annotations

from mishards.metrics.declare import Metric, counter, gauge, histogram

# --- calls of clients ------------------------------------------------------------------------------------------------

REQUESTS = counter("mishards_requests_total", "Calls of clients that ended, by the code they got.", "method", "code")
REQUEST_SECONDS = histogram("mishards_request_duration_seconds", "Time from a call's arrival to its end.", "method")
STAGE_SECONDS = histogram(
    "mishards_search_stage_duration_seconds",
    "Time of one stage of a search: get_routing (checks, snapshot, route), do_search (the nodes), do_merge.",
    "stage",
)
RETRIES = counter("mishards_retries_total", "Calls begun anew: a search on a fresh route, an unsent write.", "method")
FAILOVERS = counter("mishards_failovers_total", "Parts of calls that went on at another node.", "method")
HEDGES = counter("mishards_hedges_total", "Calls to a second replica because the first took long.", "method")
PARTIAL = counter("mishards_partial_results_total", "Searches answered without some of their segments.")
IN_PROGRESS = gauge("mishards_requests_in_progress", "Calls under way, by the class they compete in.", "class")
REFUSED = counter("mishards_requests_refused_total", "Calls refused because too many were under way.", "class")
LOG_SKIPPED = counter("mishards_access_log_skipped_total", "Lines of the access log left out because there were many.")

# --- nodes -----------------------------------------------------------------------------------------------------------

NODE_SECONDS = histogram(
    "mishards_node_call_duration_seconds", "Time of calls to a node that it answered.", "node", "method"
)
NODE_ERRORS = counter("mishards_node_errors_total", "Calls to a node without a sound answer.", "node", "kind")
NODE_UP = gauge("mishards_node_up", "Does the router ask this node (1), or is it down or absent (0)?", "node", "role")
NODE_STATE = gauge("mishards_node_breaker_state", "1 for the state that the node's breaker is in.", "node", "state")
NODE_TRIPS = counter("mishards_node_trips_total", "How often a node's breaker opened.", "node")
NODE_OUTSTANDING = gauge("mishards_node_outstanding_calls", "Calls under way to a node.", "node")
NODE_SEGMENTS = gauge("mishards_node_segments", "Segments that placement gives to a node, replicas included.", "node")
NODE_ROWS = gauge("mishards_node_rows", "Rows of these segments.", "node")
NODE_BYTES = gauge("mishards_node_bytes", "Bytes of the files of these segments.", "node", unit="bytes")
IMBALANCE = gauge("mishards_placement_imbalance_ratio", "Rows of the fullest node, divided by the mean of all.")
DEFICIT = gauge("mishards_replica_deficit", "Replicas of segments that no node in service holds now.")

# --- catalog, discovery, the router itself ---------------------------------------------------------------------------

SNAPSHOT_AGE = gauge("mishards_snapshot_age_seconds", "Age of the snapshot of the catalog.", unit="seconds")
SNAPSHOT_VERSION = gauge("mishards_snapshot_version", "Changes seen in the catalog since the start.")
REFRESHES = counter("mishards_snapshot_refreshes_total", "Reads of the catalog that ended.", "result")
REFRESH_SECONDS = counter(
    "mishards_snapshot_refresh_seconds_total", "Time that reading the catalog took.", unit="seconds"
)
COLLECTIONS = gauge("mishards_collections", "Collections in the snapshot.")
SEGMENTS = gauge("mishards_segments", "Segments in the snapshot.")
ROWS = gauge("mishards_rows", "Rows in the snapshot, deleted ones not counted.")
DISCOVERY_UP = gauge("mishards_discovery_up", "Is the discovery backend there (1), or lost (0)?")
MEMBERS = gauge("mishards_members", "Nodes that are members, by role.", "role")
LOOP_AGE = gauge(
    "mishards_loop_age_seconds", "Time since a loop in the background last came round.", "loop", unit="seconds"
)
LOOP_FAILURES = counter("mishards_loop_failures_total", "Rounds of a loop in the background that failed.", "loop")
DROPPED_SPANS = counter("mishards_dropped_spans_total", "Spans of traces that could not be sent.")
READY = gauge("mishards_ready", "Can searches be served (1)?")
BUILD = gauge("mishards_build_info", "1, with the version of the program.", "version")

ALL: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""In the order above."""
