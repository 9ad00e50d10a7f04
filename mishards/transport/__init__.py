"""The seam between RPC and the rest: a unary call is method, request bytes, metadata, deadline → reply bytes."""
