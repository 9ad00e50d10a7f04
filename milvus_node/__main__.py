"""``python -m milvus_node`` is ``milvus-node``."""

from milvus_node.cli import main

main()
