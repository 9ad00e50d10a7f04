"""The Milvus 1.x HTTP API in front of any ``mishards.transport.api.Handler``.

A request becomes the RPC calls that answer it, and their replies become JSON. Nothing is decided here: what a request
may do, and what is wrong with it, the handler says, so that a node and a router serve the same API with the same
checks, codes and limits as over gRPC. What this package adds is the form: paths, status codes, JSON, and the codes 31
to 37 of requests that cannot be turned into a call.
"""
