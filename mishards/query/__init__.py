"""The read side: calls that may be repeated on another node."""
