"""What the penalties are told about the text so far."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from groundup.inference.history import History, after_last


def test_only_what_was_written_is_counted():
    history = History([5, 5, 6])
    for id_ in (6, 7, 6):
        history.add(id_)
    assert history.ids == [5, 5, 6, 6, 7, 6]
    assert history.new == [6, 7, 6]
    assert history.counts == {6: 2, 7: 1}
    assert history.n_prompt == 3
    assert History([5], [6, 6]).counts == {6: 2}


@given(st.lists(st.integers(0, 9), max_size=5), st.lists(st.integers(0, 9), max_size=80))
def test_the_array_is_the_ids(prompt, new):
    history = History(prompt)
    for id_ in new:
        history.add(np.int64(id_))
        assert history.array.tolist() == history.ids
    assert history.ids == prompt + new
    assert all(type(id_) is int for id_ in history.ids)


def test_a_copy_goes_its_own_way():
    one = History([1, 2], [3])
    other = one.copy()
    one.add(4)
    other.add(5)
    other.add(3)
    assert (one.ids, one.array.tolist(), one.counts) == ([1, 2, 3, 4], [1, 2, 3, 4], {3: 1, 4: 1})
    assert (other.ids, other.counts, other.n_prompt) == ([1, 2, 3, 5, 3], {3: 2, 5: 1}, 2)


def test_after_last():
    ids = np.array([5, 6, 7, 5, 6, 9, 5, 6])
    assert after_last(ids, 2).tolist() == [2, 5]
    assert after_last(ids, 3).tolist() == []
    assert after_last(ids, 1).tolist() == [2, 5]
    assert after_last(ids, 0).tolist() == list(range(8))
    assert after_last(ids[:1], 2).tolist() == []


@given(st.lists(st.integers(0, 2), max_size=30), st.integers(0, 4))
def test_after_last_finds_every_occurrence(ids, n):
    expected = [at for at in range(n, len(ids)) if ids[at - n : at] == ids[len(ids) - n :]]
    assert after_last(np.array(ids, dtype=np.int64), n).tolist() == expected
