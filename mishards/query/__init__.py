"""The read side: a search is planned, scattered over nodes, and merged; it may be repeated."""
