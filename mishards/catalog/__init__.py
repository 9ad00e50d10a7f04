"""What is recorded: the metadata database of Milvus 1.x, and an immutable view of it."""
