"""Ids in files: the types, the border between files, the vocabulary's end, NumPy's own format."""

from pathlib import Path

import numpy as np
import psutil
import pytest

from groundup.data import token_files
from groundup.data.token_files import Ids, dtype_for, read_ids, write_ids
from groundup.errors import DataError


def test_dtype_by_vocabulary() -> None:
    assert dtype_for(2**16) == np.uint16 and dtype_for(65_536) == np.uint16 and dtype_for(65_537) == np.uint32


@pytest.mark.parametrize("in_memory", [True, False])
def test_several_files_read_like_one_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: bool) -> None:
    monkeypatch.setattr(token_files, "IN_MEMORY", 2**20 if in_memory else 0)
    whole = np.arange(100, dtype="<u2")
    paths = [tmp_path / f"{i}.bin" for i in range(4)]
    for path, part in zip(paths, np.split(whole, [30, 30, 61]), strict=True):
        part.tofile(path)
    ids = Ids(paths, "<u2")
    assert len(ids) == 100 and ids.shape == (100,) and ids.dtype == np.uint16
    for start, stop in [(0, 100), (0, 0), (29, 31), (30, 61), (60, 99), (-5, None), (95, 200), (50, 20)]:
        np.testing.assert_array_equal(ids[start:stop], whole[start:stop])
    assert ids[0] == 0 and ids[-1] == 99 and ids[61] == 61
    np.testing.assert_array_equal(np.asarray(ids), whole)
    with pytest.raises(IndexError):
        ids[100]


@pytest.mark.parametrize("name", ["a.bin", "a.npy"])
@pytest.mark.parametrize("vocab_size", [1000, 100_000])
def test_written_and_read_again(tmp_path: Path, name: str, vocab_size: int) -> None:
    ids = np.array([0, 5, vocab_size - 1])
    write_ids(tmp_path / name, ids, vocab_size)
    found = read_ids(tmp_path / name, vocab_size, dtype_for(vocab_size))
    assert found.dtype == dtype_for(vocab_size)
    np.testing.assert_array_equal(np.asarray(found), ids)


def test_npy_of_anybody_and_bin_of_nanogpt(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([1, 2, 3], dtype=np.int64))
    np.array([1, 2, 3], dtype=np.uint16).tofile(tmp_path / "train.bin")
    assert np.asarray(read_ids(tmp_path / "a.npy", 10)).tolist() == [1, 2, 3]
    assert np.asarray(read_ids(tmp_path / "train.bin", 10)).tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", ["a.bin", "a.npy"])
def test_id_beyond_the_vocabulary(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="token id 300 is outside the vocabulary of 300"):
        write_ids(tmp_path / name, np.array([0, 300]), 300)
    assert not (tmp_path / name).exists()
    write_ids(tmp_path / name, np.array([0, 300]), 301)
    with pytest.raises(DataError, match="token id 300 is outside the vocabulary of 300"):
        read_ids(tmp_path / name, 300)
    with pytest.raises(DataError, match="token id -1"):
        write_ids(tmp_path / "b.npy", np.array([-1]), 300)


def test_files_that_are_no_ids(tmp_path: Path) -> None:
    (tmp_path / "odd.bin").write_bytes(b"abc")
    (tmp_path / "text.npy").write_bytes(b"no array")
    np.save(tmp_path / "float.npy", np.ones(3))
    for name in ("odd.bin", "text.npy", "float.npy", "missing.npy"):
        with pytest.raises(DataError):
            read_ids(tmp_path / name, 10)


def test_reading_everywhere_in_a_large_file_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    with open(path, "wb") as file:
        for i in range(12):
            file.write(np.full(2**22, i, dtype="<u2").tobytes())
    ids = Ids([path], "<u2")
    before = psutil.Process().memory_info().rss
    total = sum(int(ids[start : start + 2**16].sum()) for start in range(0, len(ids), 2**16))
    assert total == sum(range(12)) * 2**22
    assert psutil.Process().memory_info().rss - before < 16 * 2**20
