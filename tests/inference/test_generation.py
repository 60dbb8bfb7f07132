"""Which of several texts is the best."""

import math

import pytest

from groundup.inference.generation import Generation, best_of


def test_the_best_is_the_likeliest_per_token():
    short = Generation([1], [5], [-1.0])
    long = Generation([1], [5, 6, 7], [-1.0, -0.5, -0.5])
    assert best_of([short, long]) is long
    assert long.mean_logprob == pytest.approx(-2 / 3)


def test_of_equal_ones_the_first_and_one_without_tokens_last():
    empty, one, other = Generation([1]), Generation([1], [5], [-3.0]), Generation([1], [6], [-3.0])
    assert best_of([empty, one, other]) is one
    assert empty.mean_logprob == -math.inf
    with pytest.raises(ValueError):
        best_of([])


def test_a_stop_id_is_no_text():
    assert Generation([1], [5, 2], [-1.0, -1.0], ends_with_stop_id=True).text_ids == [5]
    assert Generation([1], [5, 2], [-1.0, -1.0]).text_ids == [5, 2]
