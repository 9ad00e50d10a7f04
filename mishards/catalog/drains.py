"""Setting which nodes are drained. It counts for the name, for every router, until the node is taken back."""

from __future__ import annotations

from sqlalchemy import Engine, delete, insert

from mishards.catalog.recording import recording
from mishards.catalog.tables import drained_nodes


class DrainWriter:
    """Records drained nodes. Safe from any thread; a call waits for the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def set(self, node: str, drained: bool) -> None:
        """Record that a node is drained, or that it is not any more. Raises as ``recording`` does."""
        with recording(self._engine, drained_nodes, f"whether {node} is drained") as connection:
            connection.execute(delete(drained_nodes).where(drained_nodes.c.node == node))
            if drained:
                connection.execute(insert(drained_nodes).values(node=node))

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()
