from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from milvus_node.errors import SegmentDamaged, StorageError
from milvus_node.storage.checksums import Checksum, checksum_of, checksum_of_file, verify


def test_the_sum_file_is_one_json_object() -> None:
    assert Checksum(9, 0xCBF43926).to_json() == b'{"size": 9, "crc32": "cbf43926"}\n'
    assert Checksum(9, 0x26, 17).to_json() == b'{"size": 9, "crc32": "00000026", "modified_ns": 17}\n'
    assert Checksum.parse(Checksum(9, 0x26, 17).to_json()) == Checksum(9, 0x26, 17)
    assert Checksum.parse(Checksum(9, 0x26).to_json()) == Checksum(9, 0x26)


def test_the_checksum_is_the_crc32_of_all_buffers() -> None:
    assert checksum_of([b"1234", b"", memoryview(b"56789")]) == Checksum(9, 0xCBF43926)


def test_a_file_longer_than_a_chunk_has_the_checksum_of_its_bytes(tmp_path: Path) -> None:
    content = np.arange(9 << 20, dtype=np.uint8).tobytes()
    (tmp_path / "5").write_bytes(content)
    assert checksum_of_file(tmp_path / "5") == checksum_of([content])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"size": 1}', b'{"size": 1, "crc32": "xyz"}', b"\xff"])
def test_a_sum_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "5.sum").write_bytes(content)
    with pytest.raises(SegmentDamaged, match=r"5\.sum is no checksum"):
        verify(tmp_path / "5", Checksum(1, 2))


def test_without_a_sum_file_there_is_nothing_to_verify(tmp_path: Path) -> None:
    verify(tmp_path / "5", Checksum(1, 2))
    assert list(tmp_path.iterdir()) == []


def test_figures_of_both_sides_are_named(tmp_path: Path) -> None:
    (tmp_path / "5.sum").write_text(json.dumps({"size": 8, "crc32": "0000000a"}))
    with pytest.raises(SegmentDamaged, match=r"5 is damaged: 1 bytes with crc32 00000002, but 8 .* 0000000a"):
        verify(tmp_path / "5", Checksum(1, 2))


def test_a_sum_of_one_version_says_nothing_of_another(tmp_path: Path) -> None:
    (tmp_path / "5.sum").write_bytes(Checksum(8, 10, 1000).to_json())
    verify(tmp_path / "5", Checksum(1, 2, 2000))
    with pytest.raises(SegmentDamaged):
        verify(tmp_path / "5", Checksum(1, 2, 1000))


def test_a_sum_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "5.sum").mkdir()
    with pytest.raises(StorageError, match=r"5\.sum: Is a directory"):
        verify(tmp_path / "5", Checksum(1, 2))
