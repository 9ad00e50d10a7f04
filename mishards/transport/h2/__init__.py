"""Unary gRPC over HTTP/2 (RFC 9113, RFC 7541) in pure Python, on asyncio protocols.

Both ends keep to what the gRPC-over-HTTP/2 description asks of a unary call and to nothing more: no streaming calls,
no server push, no compression of what is sent. Lowest first: ``frames`` and ``headers`` are bytes in and values out,
``message`` and ``flow`` hold one message and the windows, ``outbox`` writes, ``connection`` is what both ends share,
``serving`` and ``calling`` are the two ends of one connection, ``server`` and ``channel`` the seam's face of them.
"""
