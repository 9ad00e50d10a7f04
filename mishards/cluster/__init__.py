"""The nodes as seen from the router."""
