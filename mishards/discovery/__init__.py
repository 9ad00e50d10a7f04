"""Who exists: the interface of discovery plugins and what the router keeps of them."""
