"""Spans of calls: the interface of tracing plugins, and what the router and the node do with it alike."""
