"""The share of repeated n-grams, counted by hand and by another way of counting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.inference.repetition import repeated


@pytest.mark.parametrize(
    ("ids", "n", "share"),
    [
        ([], 4, 0.0),
        ([1, 2, 3], 4, 0.0),
        ([1, 2, 3, 4], 4, 0.0),
        ([7] * 10, 4, 6 / 7),  # seven runs of four, one of them new
        ([1, 2, 3, 4, 1, 2, 3, 4], 4, 1 / 5),  # 1234 2341 3412 4123 1234
        ([1, 2, 1, 2], 1, 2 / 4),
    ],
)
def test_counted_by_hand(ids, n, share):
    assert repeated(ids, n) == pytest.approx(share)


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 5))
def test_it_is_the_share_of_those_that_stood_before(ids, n):
    runs = [ids[at : at + n] for at in range(len(ids) - n + 1)]
    again = sum(run in runs[:at] for at, run in enumerate(runs))
    assert repeated(ids, n) == pytest.approx(again / max(1, len(runs)))
