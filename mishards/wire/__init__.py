"""What is said: the Milvus 1.1 protocol — its messages, limits, texts, and views of its bytes."""
