"""Collections, partitions and their index definitions: what a client names."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, insert, update
from sqlalchemy.exc import IntegrityError

from mishards.catalog.records import FileType, IdMode, TableRecord, TableState
from mishards.catalog.tables import replica_numbers, table_files, tables
from mishards.catalog.transaction import WritableCatalog, expect, later, retire
from mishards.errors import CollectionExists
from mishards.kinds import IndexType, MetricType

MILVUS_VERSION = "1.1.0"


class DefinitionWriter:
    """Each method is one transaction; all raise CatalogUnavailable when the database does not answer."""

    def __init__(self, catalog: WritableCatalog) -> None:
        self._catalog = catalog

    def create_collection(
        self,
        name: str,
        dimension: int,
        index_file_size: int,
        metric: MetricType,
        *,
        flush_lsn: int = 0,
    ) -> None:
        """Record a collection without an index; ``index_file_size`` in bytes.

        Log records at or before ``flush_lsn`` belong to an earlier collection of the name.

        Raises:
            CollectionExists: the name is taken, by a collection or by a partition's internal name.
        """
        self._insert_table(
            table_id=name,
            dimension=dimension,
            index_file_size=index_file_size,
            metric_type=metric,
            engine_type=IndexType.BIN_FLAT if metric.is_binary else IndexType.FLAT,
            index_params="{}",
            owner_table="",
            partition_tag="",
            flush_lsn=flush_lsn,
        )

    def create_partition(self, owner: TableRecord, table_id: str, tag: str) -> None:
        """Record a partition under the internal name ``table_id``, with its owner's dimension, metric and index.

        Raises:
            CollectionExists: the internal name is taken.
        """
        self._insert_table(
            table_id=table_id,
            dimension=owner.dimension,
            index_file_size=owner.index_file_size,
            metric_type=owner.metric_type,
            engine_type=owner.engine_type,
            index_params=owner.index_params,
            owner_table=owner.table_id,
            partition_tag=tag,
            flush_lsn=0,
        )

    def _insert_table(self, **columns: object) -> None:
        row = {
            "state": TableState.NORMAL,
            "created_on": self._catalog.now_us(),
            "flag": IdMode.UNDECIDED,
            "version": MILVUS_VERSION,
            **columns,
        }
        with self._catalog.transaction() as connection:
            try:
                connection.execute(insert(tables).values(**row))
            except IntegrityError as error:
                raise CollectionExists from error

    def drop(self, table_ids: Sequence[str]) -> None:
        """Forget collections or partitions: names are free at once, files are kept for the cleanup delay."""
        with self._catalog.transaction() as connection:
            retire(connection, self._catalog.now_us(), table_files.c.table_id.in_(table_ids))
            connection.execute(delete(tables).where(tables.c.table_id.in_(table_ids)))
            connection.execute(delete(replica_numbers).where(replica_numbers.c.collection.in_(table_ids)))

    def set_id_mode(self, table_id: str, mode: IdMode) -> None:
        """Fix who gives the ids of a collection.

        Raises:
            CatalogConflict: another mode was fixed before.
        """
        with self._catalog.transaction() as connection:
            changed = connection.execute(
                update(tables)
                .where(tables.c.table_id == table_id, tables.c.flag.in_((IdMode.UNDECIDED, mode)))
                .values(flag=mode)
            )
            expect(changed.rowcount, 1, f"id mode of {table_id}")

    def set_index(self, table_ids: Sequence[str], index_type: IndexType, params: str) -> None:
        """Record the index definition of a collection and its partitions; builds nothing."""
        with self._catalog.transaction() as connection:
            connection.execute(
                update(tables)
                .where(tables.c.table_id.in_(table_ids))
                .values(engine_type=index_type, index_params=params)
            )

    def drop_index(self, table_ids: Sequence[str], flat: IndexType) -> None:
        """Go back to flat search: index files are retired and raw files come back, in one step."""
        now = self._catalog.now_us()
        ours = table_files.c.table_id.in_(table_ids)
        with self._catalog.transaction() as connection:
            retire(connection, now, ours & (table_files.c.file_type == FileType.INDEX))
            connection.execute(
                update(table_files)
                .where(ours, table_files.c.file_type.in_((FileType.BACKUP, FileType.TO_INDEX)))
                .values(file_type=FileType.RAW, updated_time=later(now))
            )
            connection.execute(
                update(tables).where(tables.c.table_id.in_(table_ids)).values(engine_type=flat, index_params="{}")
            )
