"""Sharding middleware for vector search: the contract, and the router that keeps it."""

__version__ = "0.1.0"
