"""The face of the node: one method per RPC."""
