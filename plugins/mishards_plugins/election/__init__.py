"""Where writable nodes elect a leader."""
