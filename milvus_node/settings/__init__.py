"""The configuration keys of a Milvus 1.1 server, as ``get_config`` and ``set_config`` speak of them."""
