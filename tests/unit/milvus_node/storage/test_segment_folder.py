from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvus_node.errors import SegmentDamaged, SegmentMissing, StorageError
from milvus_node.storage.bloom_filter import bloom_filter_of
from milvus_node.storage.layout import StorageLayout
from milvus_node.storage.segment_folder import SegmentFolder

GOLDEN = Path(__file__).parents[3] / "golden" / "storage"
IDS = np.array([7, -1, 1 << 62])
VECTORS = np.array([[1.0, -2.0], [0.5, 3.25], [0.0, 1e-3]], np.float32)
BITS = np.array([[0, 1], [0x7F, 0x80], [0xFE, 0xFF]], np.uint8)


def golden(name: str) -> bytes:
    return bytes.fromhex((GOLDEN / f"{name}.hex").read_text())


def foreign_segment(root: Path, rows: str = "float_rows_3x2.rv") -> SegmentFolder:
    """A segment as another server leaves it: golden bytes, no checksums."""
    folder = StorageLayout(root).segment("words", "1795311037998941000")
    folder.path.mkdir(parents=True)
    (folder.path / "1795311037998941000.rv").write_bytes(golden(rows))
    (folder.path / "1795311037998941000.uid").write_bytes(golden("ids_3.uid"))
    (folder.path / "deleted_docs").write_bytes(golden("deleted_2.deleted_docs"))
    return folder


@pytest.fixture
def segment(tmp_path: Path) -> SegmentFolder:
    folder = StorageLayout(tmp_path).segment("words", "1795311037998941000")
    folder.write_raw(IDS, VECTORS)
    return folder


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


def test_raw_files_are_the_golden_bytes(segment: SegmentFolder) -> None:
    segment.write_deleted(np.array([2, 0]))
    assert (segment.path / "1795311037998941000.rv").read_bytes() == golden("float_rows_3x2.rv")
    assert (segment.path / "1795311037998941000.uid").read_bytes() == golden("ids_3.uid")
    assert (segment.path / "deleted_docs").read_bytes() == golden("deleted_2.deleted_docs")


def test_golden_bytes_without_checksums_are_read(tmp_path: Path) -> None:
    folder = foreign_segment(tmp_path)
    np.testing.assert_array_equal(folder.read_ids(), IDS)
    np.testing.assert_array_equal(folder.read_vectors(np.float32, 2), VECTORS)
    np.testing.assert_array_equal(folder.read_deleted(), [0, 2])
    assert folder.row_count() == 3


def test_golden_binary_vectors_are_read(tmp_path: Path) -> None:
    np.testing.assert_array_equal(foreign_segment(tmp_path, "binary_rows_3x2.rv").read_vectors(np.uint8, 2), BITS)


def test_a_new_segment_has_exactly_its_files_and_no_deleted_row(segment: SegmentFolder) -> None:
    names = {"1795311037998941000.rv", "1795311037998941000.uid", "deleted_docs"}
    expected = names | {name + ".sum" for name in names}
    assert {path.name for path in segment.path.iterdir()} == expected | {"bloom_filter"}
    assert segment.read_deleted().size == 0


def test_the_bloom_filter_is_that_of_the_ids_and_may_be_left_out(tmp_path: Path, segment: SegmentFolder) -> None:
    assert (segment.path / "bloom_filter").read_bytes() == b"".join(bloom_filter_of(IDS))
    without = StorageLayout(tmp_path, bloom_filters=False).segment("words", "5")
    without.write_raw(IDS, VECTORS)
    assert not (without.path / "bloom_filter").exists()


@given(st.integers(0, 40), st.integers(1, 9), st.sampled_from([np.float32, np.uint8]), st.data())
def test_what_was_written_is_read_and_any_rows_of_it(
    tmp_path_factory: pytest.TempPathFactory, count: int, width: int, dtype: type[np.float32], data: st.DataObject
) -> None:
    folder = StorageLayout(tmp_path_factory.mktemp("root")).segment("words", "5")
    generator = np.random.default_rng(count)
    ids = generator.integers(-(1 << 63), 1 << 62, count)
    vectors = generator.integers(0, 256, (count, width)).astype(dtype)
    folder.write_raw(ids, vectors, bloom_filter=False)
    np.testing.assert_array_equal(folder.read_ids(), ids)
    np.testing.assert_array_equal(folder.read_vectors(dtype, width), vectors)
    rows = np.array(data.draw(st.lists(st.integers(0, max(count - 1, 0)), max_size=20 if count else 0)), np.int64)
    np.testing.assert_array_equal(folder.read_rows(rows, dtype, width), vectors[rows])
    np.testing.assert_array_equal(np.sort(rows), np.repeat(*np.unique(rows, return_counts=True)))
    folder.write_deleted(rows)
    np.testing.assert_array_equal(folder.read_deleted(), np.unique(rows))


def test_vectors_that_are_not_contiguous_are_written_row_by_row(tmp_path: Path) -> None:
    folder = StorageLayout(tmp_path).segment("words", "5")
    wide = np.arange(24, dtype=np.float32).reshape(4, 6)
    folder.write_raw(np.arange(8)[::2], wide[:, 1:4])
    np.testing.assert_array_equal(folder.read_ids(), [0, 2, 4, 6])
    np.testing.assert_array_equal(folder.read_vectors(np.float32, 3), wide[:, 1:4])


def test_a_segment_written_and_read_in_blocks_is_the_same_segment(segment: SegmentFolder, tmp_path: Path) -> None:
    other = StorageLayout(tmp_path / "other").segment("words", segment.segment_id)
    stored = segment.stored_vectors(np.float32, 2)
    stored.verify()
    assert (len(stored), stored.shape) == (3, (3, 2))
    other.write_raw_blocks(IDS, (stored[at : at + 2] for at in (0, 2)), 8)
    names = {path.name for path in segment.path.iterdir()}
    assert names == {path.name for path in other.path.iterdir()}
    for name in names - {"deleted_docs.sum"}:  # that names a time
        assert (segment.path / name).read_bytes() == (other.path / name).read_bytes()


@pytest.mark.parametrize("size", [2, 4])
def test_blocks_that_do_not_add_up_leave_no_segment(tmp_path: Path, size: int) -> None:
    other = StorageLayout(tmp_path / "other").segment("words", "7")
    with pytest.raises(ValueError, match="3 ids of 8 bytes a vector"):
        other.write_raw_blocks(IDS, [np.zeros((size, 2), np.float32)], 8)
    assert list(other.path.iterdir()) == []


def test_damage_shows_when_vectors_that_are_read_in_parts_are_verified(segment: SegmentFolder) -> None:
    path = segment.path / f"{segment.segment_id}.rv"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    stored = segment.stored_vectors(np.float32, 2)
    with pytest.raises(SegmentDamaged, match="is damaged"):
        stored.verify()
    path.unlink()
    with pytest.raises(SegmentMissing):
        stored.verify()


@pytest.mark.parametrize(
    ("ids", "vectors"),
    [(IDS[:2], VECTORS), (IDS.astype(np.int32), VECTORS), (IDS, VECTORS[:, 0]), (IDS.reshape(1, 3), VECTORS)],
)
def test_arrays_that_are_no_segment_are_refused(
    tmp_path: Path, ids: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32]
) -> None:
    with pytest.raises(ValueError, match="are no segment"):
        StorageLayout(tmp_path).segment("words", "5").write_raw(ids, vectors)


def test_a_row_out_of_range_is_refused(segment: SegmentFolder) -> None:
    with pytest.raises(ValueError, match="not in the 3 rows"):
        segment.read_rows(np.array([0, 3]), np.float32, 2)
    with pytest.raises(ValueError, match="not in the 3 rows"):
        segment.read_rows(np.array([-1]), np.float32, 2)
    with pytest.raises(ValueError, match="not in the 3 rows"):
        segment.write_deleted(np.array([3]))


# --- damage --------------------------------------------------------------------------------------------------


def test_every_flipped_bit_of_the_vectors_is_detected_and_named(segment: SegmentFolder) -> None:
    path = segment.path / "1795311037998941000.rv"
    for position in range(path.stat().st_size):
        flip(path, position)
        with pytest.raises(SegmentDamaged, match=r"1795311037998941000\.rv is damaged"):
            segment.read_vectors(np.float32, 2)
        flip(path, position)
    np.testing.assert_array_equal(segment.read_vectors(np.float32, 2), VECTORS)


def test_every_flipped_bit_of_the_ids_is_detected_and_named(segment: SegmentFolder) -> None:
    path = segment.path / "1795311037998941000.uid"
    for position in range(path.stat().st_size):
        flip(path, position)
        with pytest.raises(SegmentDamaged, match=r"1795311037998941000\.uid is damaged"):
            segment.read_ids()
        flip(path, position)


def test_every_flipped_bit_of_deleted_rows_is_detected_and_named(segment: SegmentFolder) -> None:
    segment.write_deleted(np.array([0, 2]))
    path = segment.path / "deleted_docs"
    modified = path.stat().st_mtime_ns
    for position in range(path.stat().st_size):
        flip(path, position)
        os.utime(path, ns=(modified, modified))  # a fault of the disk does not touch the time
        with pytest.raises(SegmentDamaged, match="deleted_docs is damaged"):
            segment.read_deleted()
        flip(path, position)


@pytest.mark.parametrize("suffix", [".rv", ".uid"])
def test_a_file_cut_short_anywhere_is_detected_without_checksums(tmp_path: Path, suffix: str) -> None:
    folder = foreign_segment(tmp_path)
    path = folder.path / (folder.segment_id + suffix)
    for size in reversed(range(path.stat().st_size)):
        os.truncate(path, size)
        with pytest.raises(SegmentDamaged, match=path.name):
            folder.read_vectors(np.float32, 2)


def test_vectors_and_ids_that_disagree_are_damage_with_both_figures(segment: SegmentFolder) -> None:
    with pytest.raises(SegmentDamaged, match="24 bytes, but 36 fit"):
        segment.read_vectors(np.float32, 3)
    with pytest.raises(SegmentDamaged, match="24 bytes, but 36 fit"):
        segment.read_rows(np.array([0]), np.float32, 3)


def test_deleted_offsets_beyond_the_rows_are_damage(tmp_path: Path) -> None:
    folder = foreign_segment(tmp_path)
    (folder.path / "deleted_docs").write_bytes(golden("deleted_2.deleted_docs")[:-4] + b"\3\0\0\0")
    with pytest.raises(SegmentDamaged, match=r"offsets 0\.\.3 in a segment of 3 rows"):
        folder.read_deleted()


@pytest.mark.parametrize("name", ["1795311037998941000.rv", "1795311037998941000.uid", "deleted_docs"])
def test_a_missing_file_is_named(segment: SegmentFolder, name: str) -> None:
    (segment.path / name).unlink()
    with pytest.raises(SegmentMissing, match=name):
        [segment.read_ids(), segment.read_vectors(np.float32, 2), segment.read_deleted()]


def test_a_segment_that_does_not_exist_is_missing(tmp_path: Path) -> None:
    folder = StorageLayout(tmp_path).segment("words", "5")
    with pytest.raises(SegmentMissing, match=r"5\.uid"):
        folder.read_vectors(np.float32, 2)
    with pytest.raises(SegmentMissing, match=r"5\.uid"):
        folder.write_deleted(np.array([0]))


def test_deleted_rows_that_another_server_replaced_are_not_damage(segment: SegmentFolder) -> None:
    segment.write_deleted(np.array([1]))
    (segment.path / "temp_del").write_bytes(golden("deleted_2.deleted_docs"))
    (segment.path / "temp_del").rename(segment.path / "deleted_docs")
    np.testing.assert_array_equal(segment.read_deleted(), [0, 2])


def test_deleted_rows_of_another_server_may_repeat(tmp_path: Path) -> None:
    folder = foreign_segment(tmp_path)
    (folder.path / "deleted_docs").write_bytes(bytes.fromhex("0c00000000000000 02000000 00000000 02000000"))
    np.testing.assert_array_equal(folder.read_deleted(), [0, 2])


def test_no_crash_point_of_a_delete_makes_the_segment_look_damaged(
    segment: SegmentFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop before every rename and unlink in turn; old or new rows are read, nothing else."""
    real = {"replace": Path.replace, "unlink": Path.unlink}
    for crash_at in range(5):  # an unlink, two renames, another unlink, none
        segment.write_deleted(np.array([0]))
        steps = 0

        def step(name: str, *args: Any, **options: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps > crash_at:  # noqa: B023 - called only within this round
                raise OSError(5, "the machine stopped")
            return real[name](*args, **options)  # type: ignore[operator]  # both take a path first

        with monkeypatch.context() as patch, ExitStack() as stack:
            patch.setattr(Path, "replace", partialmethod(lambda *args: step("replace", *args)))
            patch.setattr(Path, "unlink", partialmethod(lambda *args, **kw: step("unlink", *args, **kw)))
            if crash_at < 4:
                stack.enter_context(pytest.raises(StorageError, match="the machine stopped"))
            segment.write_deleted(np.array([0, 1]))
        assert segment.read_deleted().tolist() == ([0] if crash_at < 2 else [0, 1])


# --- index files ---------------------------------------------------------------------------------------------


def test_an_index_file_appears_complete_and_verifies(segment: SegmentFolder) -> None:
    segment.write_file("1795311041200422000", lambda path: path.write_bytes(b"IwFl"))
    assert segment.path_of("1795311041200422000").read_bytes() == b"IwFl"
    segment.verify_file("1795311041200422000")
    flip(segment.path_of("1795311041200422000"), 2)
    with pytest.raises(SegmentDamaged, match="1795311041200422000 is damaged"):
        segment.verify_file("1795311041200422000")


def test_an_index_file_without_checksum_is_not_verified(segment: SegmentFolder) -> None:
    segment.path_of("9").write_bytes(b"another server's index")
    segment.verify_file("9")
    with pytest.raises(SegmentMissing, match="10 is missing"):
        segment.verify_file("10")


def test_a_writer_that_fails_leaves_nothing(segment: SegmentFolder) -> None:
    before = sorted(segment.path.iterdir())

    def writer(path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        segment.write_file("9", writer)
    assert sorted(segment.path.iterdir()) == before


def test_removing_an_index_file_removes_its_checksum_and_may_be_repeated(segment: SegmentFolder) -> None:
    before = sorted(segment.path.iterdir())
    segment.write_file("9", lambda path: path.write_bytes(b"index"))
    segment.remove_file("9")
    segment.remove_file("9")
    assert sorted(segment.path.iterdir()) == before


def test_a_removed_segment_is_gone_and_may_be_removed_again(segment: SegmentFolder) -> None:
    segment.remove()
    segment.remove()
    assert not segment.path.exists()
    assert segment.path.parent.exists()
