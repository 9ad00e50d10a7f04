"""A standalone vector-search node that speaks the Milvus 1.1 protocol."""
