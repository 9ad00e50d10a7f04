"""Who exists: the interface of discovery plugins and the pure code around it."""
