"""Routing plugins."""
