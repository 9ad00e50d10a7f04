"""The way of a row to disk: log, buffer, segment; writable role only."""
