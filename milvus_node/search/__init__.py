"""Searching named segments from a bounded cache."""
