from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvus_node.errors import StorageError
from milvus_node.storage.layout import StorageLayout

LAYOUT = StorageLayout(Path("/srv/storage"))


def test_a_segment_lies_below_its_table() -> None:
    folder = LAYOUT.segment("words", "1795311037998941000")
    assert folder.path == Path("/srv/storage/db/tables/words/1795311037998941000")
    assert folder.segment_id == "1795311037998941000"
    assert folder.path_of("17") == folder.path / "17"
    assert LAYOUT.lock_path == Path("/srv/storage/lock")


def test_a_partition_is_a_table_with_a_number() -> None:
    assert LAYOUT.table_path("1795311038198151000") == Path("/srv/storage/db/tables/1795311038198151000")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "/etc", "a\0b", "a b", "a\n", "1a", "é", "١", "-", "a.tmp", "a" * 256],
)
def test_a_name_that_could_leave_the_folder_is_refused(name: str) -> None:
    with pytest.raises(StorageError, match="is no table id"):
        LAYOUT.table_path(name)
    with pytest.raises(StorageError, match="is no segment id"):
        LAYOUT.segment("words", name)
    with pytest.raises(StorageError, match="is no file id"):
        LAYOUT.segment("words", "5").path_of(name)


@pytest.mark.parametrize("name", ["deleted_docs", "bloom_filter"])
def test_an_index_file_cannot_take_the_name_of_another_file(name: str) -> None:
    with pytest.raises(StorageError, match="belongs to another file"):
        LAYOUT.segment("words", "5").path_of(name)


@given(st.text())
def test_whatever_the_name_the_path_stays_below_the_root(name: str) -> None:
    try:
        path = LAYOUT.segment(name, name).path
    except StorageError:
        return
    assert path.parent.parent == LAYOUT.tables_path
    assert path.name == name
