"""Rows of a pool: what is stored where, what is seen, and what stays when rows move and room grows."""

import pytest
import torch

from groundup.layers.cache_pool import STEP, CachePool, CacheRows


def pool(n_rows: int, n_positions: int = STEP, n_layers: int = 1) -> CachePool:
    made = CachePool(n_layers, n_kv_heads=1, head_dim=1)
    made.reserve(n_rows, n_positions)
    return made


def numbers(*rows: list[float]) -> torch.Tensor:
    """(B, 1, T, 1)"""
    return torch.tensor(rows, dtype=torch.float32)[:, None, :, None]


def test_rows_of_one_length_are_seen_as_they_lie():
    made = pool(3)
    rows = CacheRows(made, 1, lengths=[0, 0], n_new=[2, 2])
    assert (rows.mask, rows.positions.tolist()) == (None, [[0, 1]])
    k, v = rows.append(0, numbers([1, 2], [3, 4]), numbers([5, 6], [7, 8]))
    assert (k[:, 0, :, 0].tolist(), v[:, 0, :, 0].tolist()) == ([[1, 2], [3, 4]], [[5, 6], [7, 8]])
    assert k.data_ptr() == made.keys[0][1].data_ptr(), "a view, and no copy"
    assert not made.keys[0][0].any()


def test_each_row_is_written_where_it_ends_and_sees_no_further():
    made = pool(2)
    CacheRows(made, 0, [0], [3]).append(0, numbers([1, 2, 3]), numbers([1, 2, 3]))
    CacheRows(made, 1, [0], [1]).append(0, numbers([4]), numbers([4]))

    rows = CacheRows(made, 0, lengths=[3, 1], n_new=[1, 2])
    k, _ = rows.append(0, numbers([5, 0], [6, 7]), numbers([5, 0], [6, 7]))
    assert k[:, 0, :, 0].tolist() == [[1, 2, 3, 5, 0], [4, 6, 7, 0, 0]]
    # What is nothing stays at the last real position, and sees itself: a softmax over nothing is no number.
    assert rows.positions.tolist() == [[3, 3], [1, 2]]
    assert rows.mask is not None
    assert rows.mask[:, 0].int().tolist() == [[[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]]


def test_with_a_window_each_row_is_laid_to_end_with_its_new_ids():
    made = pool(2)
    CacheRows(made, 0, [0], [3]).append(0, numbers([1, 2, 3]), numbers([1, 2, 3]))
    CacheRows(made, 1, [0], [1]).append(0, numbers([4]), numbers([4]))

    rows = CacheRows(made, 0, lengths=[3, 1], n_new=[1, 1], reach=3)
    k, _ = rows.append(0, numbers([5], [6]), numbers([5], [6]))
    assert rows.mask is not None
    seen = k[:, 0, :, 0].where(rows.mask[:, 0, 0], 0)
    assert seen.tolist() == [[2, 3, 5], [0, 4, 6]]


def test_ids_are_remembered_so_that_the_new_ones_are_the_last():
    made = pool(2)
    assert CacheRows(made, 0, [0, 0], [3, 3]).remember(torch.tensor([[1, 2, 3], [4, 0, 0]])).shape == (2, 3)
    seen = CacheRows(made, 0, lengths=[3, 1], n_new=[1, 2]).remember(torch.tensor([[5, 0], [6, 7]]))
    assert seen.shape == (2, 5)
    assert seen[0].tolist() == [1, 2, 3, 5, 0]
    assert seen[1, -3:].tolist() == [4, 6, 7]


def test_what_is_there_stays_when_room_grows():
    made = pool(2, n_layers=2)
    for layer in range(2):
        rows = CacheRows(made, 0, [0, 0], [2, 2])
        rows.append(layer, numbers([1, 2], [3, 4]), numbers([5, 6], [7, 8]))
    rows.remember(torch.tensor([[1, 2], [3, 4]]))

    made.reserve(3, STEP + 1)
    assert (made.n_rows, made.n_positions, made.keys[1].shape) == (3, 2 * STEP, (3, 1, 2 * STEP, 1))
    made.reserve(1, 1)
    assert (made.n_rows, made.n_positions) == (3, 2 * STEP)
    for layer in range(2):
        assert made.keys[layer][:2, 0, :3, 0].tolist() == [[1, 2, 0], [3, 4, 0]]
        assert made.values[layer][:2, 0, :3, 0].tolist() == [[5, 6, 0], [7, 8, 0]]
    assert made.ids[:, :2].tolist() == [[1, 2], [3, 4], [0, 0]]
    made.release()
    assert made.keys[0].numel() == made.ids.numel() == 0


def test_rows_that_join_one_by_one_are_not_copied_each_time():
    made, sizes = pool(1), set()
    for n in range(1, 65):
        made.reserve(n, 1)
        sizes.add(made.n_rows)
    assert len(sizes) < 15


def test_rows_are_copied_and_change_places():
    made = pool(3)
    rows = CacheRows(made, 0, [0, 0], [2, 2])
    rows.append(0, numbers([1, 2], [3, 4]), numbers([5, 6], [7, 8]))
    rows.remember(torch.tensor([[1, 2], [3, 4]]))
    made.copy(1, 2, length=1)
    made.swap(0, 1, length=2)
    assert made.keys[0][:, 0, :2, 0].tolist() == [[3, 4], [1, 2], [3, 0]]
    assert made.values[0][:, 0, :2, 0].tolist() == [[7, 8], [5, 6], [7, 0]]
    assert made.ids[:, :2].tolist() == [[3, 4], [1, 2], [3, 0]]


def test_more_than_there_is_room_for_is_refused():
    with pytest.raises(ValueError, match=f"room for {STEP} positions, and {STEP + 1} are needed"):
        CacheRows(pool(1), 0, [STEP], [1])
