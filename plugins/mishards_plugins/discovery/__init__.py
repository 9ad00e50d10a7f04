"""Discovery plugins."""
