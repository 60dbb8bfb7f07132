"""The computed permutation is one, for every size; keys give different ones."""

import numpy as np
import pytest

from groundup.data.shuffling import key_of, mix, permute


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16, 17, 1000, 65_537])
def test_every_number_once(n: int) -> None:
    assert sorted(permute(np.arange(n), n, key=key_of(3, 1)).tolist()) == list(range(n))


def test_an_element_does_not_depend_on_the_others() -> None:
    whole = permute(np.arange(1000), 1000, key=7)
    assert [int(permute(np.array([i]), 1000, key=7)[0]) for i in (0, 5, 999)] == whole[[0, 5, 999]].tolist()


def test_works_where_a_list_would_not_fit() -> None:
    n = 10**15
    found = permute(np.arange(1000), n, key=1)
    assert len(set(found.tolist())) == 1000 and found.min() >= 0 and found.max() < n
    assert found.max() > n // 2


def test_keys_and_order() -> None:
    first, second = (permute(np.arange(1000), 1000, key=key_of(0, epoch)) for epoch in (0, 1))
    assert (first == second).mean() < 0.02
    # Neighbours in the new order are no neighbours in the old one, and no part of it leans to one side.
    assert (np.abs(np.diff(first)) == 1).mean() < 0.02
    assert abs(first[:500].mean() - 500) < 60


def test_hash_bits_are_even() -> None:
    hashes = mix(np.arange(20_000), key=5)
    bits = (hashes[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.02
