"""Implementations of the interfaces that mishards defines; found through entry points."""
