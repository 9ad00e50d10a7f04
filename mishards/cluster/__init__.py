"""The nodes as seen from a router: who they are, whether they are well, and a way to call them."""
