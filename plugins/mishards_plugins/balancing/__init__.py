"""Balancing plugins."""
