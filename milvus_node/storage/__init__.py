"""The shared folder: known to the node alone."""
