"""The face of the router: RPC and health."""
