"""The key-value cache alone; cached = full forward is tested on every model."""

import pytest
import torch

from groundup.layers.cache import KVCache


def test_returns_all_positions_and_counts_once_per_forward():
    cache = KVCache(n_layers=2, batch_size=1, n_kv_heads=3, head_dim=4, max_length=5)
    k, v = torch.randn(2, 1, 3, 5, 4), torch.randn(2, 1, 3, 5, 4)

    for start, end in ((0, 3), (3, 5)):
        for layer in range(2):
            assert cache.length == start
            k_all, v_all = cache.append(layer, k[layer, :, :, start:end], v[layer, :, :, start:end])
            assert torch.equal(k_all, k[layer, :, :, :end])
            assert torch.equal(v_all, v[layer, :, :, :end])
        assert cache.length == end


def test_more_than_it_has_room_for_is_refused():
    cache = KVCache(1, 1, 1, 2, max_length=3)
    new = torch.zeros(1, 1, 4, 2)

    with pytest.raises(ValueError, match="room for 3 positions, and 4 are needed"):
        cache.append(0, new, new)


def test_keeps_rows_in_the_order_given():
    cache = KVCache(1, 3, 1, 1, max_length=2)
    rows = torch.tensor([0.0, 1.0, 2.0]).view(3, 1, 1, 1)
    cache.append(0, rows, -rows)
    cache.keep(torch.tensor([2, 0]))

    k, v = cache.append(0, rows[:2], rows[:2])
    assert k[:, 0, 0, 0].tolist() == [2, 0]
    assert v[:, 0, 0, 0].tolist() == [-2, 0]


def test_remembers_ids_before_the_layers_run():
    cache = KVCache(n_layers=1, batch_size=2, n_kv_heads=1, head_dim=2, max_length=4)
    assert cache.ids is None
    new = torch.zeros(2, 1, 2, 2)

    assert cache.remember(torch.tensor([[1, 2], [3, 4]])).tolist() == [[1, 2], [3, 4]]
    assert cache.length == 0
    cache.append(0, new, new)
    assert cache.remember(torch.tensor([[5], [6]])).tolist() == [[1, 2, 5], [3, 4, 6]]

    cache.length = 1
    cache.keep(torch.tensor([1]))
    assert cache.remember(torch.tensor([[7, 8]])).tolist() == [[3, 7, 8]]
    with pytest.raises(ValueError, match="room for 4 positions, and 5 are needed"):
        cache.remember(torch.tensor([[7, 8, 9, 9]]))
