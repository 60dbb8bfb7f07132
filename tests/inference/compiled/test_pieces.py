"""Pieces of passes, for threads in time and for one that comes late."""

import numpy as np

from groundup.inference.compiled.pieces_compiled import call, n_counters, next_piece, sizes_of, take, wait_for_work


def test_every_piece_is_taken_once():
    counters = np.zeros(n_counters(2), np.int64)
    taken = [take(counters, 0, 1, 3), take(counters, 0, 1, 3)]
    taken += [next_piece(counters, 0, 1, 3), next_piece(counters, 0, 1, 3)]
    assert taken == [0, 1, 2, -1] and take(counters, 1, 1, 1) == 0


def test_who_comes_late_finds_nothing_whatever_the_next_pass_is():
    """A pass over one id is over, the next is over ten: the late one has the sizes of its own pass, in one word."""
    counters = np.zeros(n_counters(1), np.int64)
    call(counters, 5, 1, 1, 0)
    word = wait_for_work(counters, 4, 10)
    assert take(counters, 0, 5, 1) == 0 and next_piece(counters, 0, 5, 1) == -1
    call(counters, 6, 10, 2, 1)
    number, n_ids, *rest = sizes_of(word)
    assert (number, n_ids, *rest) == (5, 1, 1, 0) and take(counters, 0, number, n_ids) == -1
    assert sizes_of(wait_for_work(counters, 5, 10)) == (6, 10, 2, 1)
    assert take(counters, 0, 6, 10) == 0 and take(counters, 0, 5, 1) == -1
    assert wait_for_work(counters, 6, 10) == -1
