"""Filters against distributions that a person can check, against transformers' filters, and in frequency."""

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groundup.errors import ArtefactError, UsageError
from groundup.inference import sampling
from groundup.inference.history import History
from groundup.inference.settings import Settings

PROBS = np.array([0.1, 0.5, 0.05, 0.3, 0.05])
LOGITS = np.log(PROBS).astype(np.float32)
NOTHING = History([])
PLAIN = {"temperature": 1.0, "top_p": 1.0}
# What a chi-square statistic with so many degrees of freedom exceeds once in a thousand times.
CHI_SQUARE = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47}


def kept(logits: np.ndarray) -> set[int]:
    return set(np.flatnonzero(np.isfinite(logits)).tolist())


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return weights / weights.sum()


# --- the exact sets ---


@pytest.mark.parametrize(
    ("p", "expected"),
    [(1e-9, {1}), (0.4, {1}), (0.5, {1}), (0.51, {1, 3}), (0.8, {1, 3}), (0.81, {0, 1, 3}), (0.9, {0, 1, 3})],
)
def test_top_p_keeps_the_exact_nucleus(p, expected):
    assert kept(sampling.keep_top_p(LOGITS, p, NOTHING)) == expected


def test_top_p_of_one_is_plain_sampling():
    assert np.array_equal(sampling.keep_top_p(LOGITS, 1.0, NOTHING), LOGITS)
    for uniform in np.linspace(0, 0.9999, 200):
        assert sampling.choose(LOGITS, Settings(**PLAIN), NOTHING, uniform) == sampling.draw(LOGITS, uniform)


def test_top_p_near_zero_is_greedy():
    settings = Settings(temperature=1.0, top_p=1e-9)
    assert {sampling.choose(LOGITS, settings, NOTHING, uniform) for uniform in np.linspace(0, 0.9999, 50)} == {1}


def test_top_p_of_equal_tokens_keeps_as_many_as_needed():
    assert kept(sampling.keep_top_p(np.zeros(10, np.float32), 0.3, NOTHING)) == {0, 1, 2}


@given(st.lists(st.integers(1, 5), min_size=1, max_size=40), st.floats(0.001, 0.999), st.data())
def test_the_nucleus_is_the_smallest_set_that_reaches_p(weights, p, data):
    weights = np.array(weights, dtype=np.float64)
    ruled_out = data.draw(st.integers(0, len(weights) - 1))
    weights[:ruled_out] = 0
    with np.errstate(divide="ignore"):
        logits = np.log(weights).astype(np.float32)
    order = np.argsort(-weights, kind="stable")
    reached = np.cumsum(weights[order] / weights.sum())
    n = 1 + sum(1 for sum_ in reached[:-1] if sum_ < p - 1e-6)
    if np.abs(reached - p + 1e-6).min() > 5e-7:  # which side of p a sum falls on is not for float32 to say
        assert kept(sampling.keep_top_p(logits, p, NOTHING)) == set(order[:n].tolist())


@pytest.mark.parametrize("spread", [0.0, 0.01, 1.0, 3.0, 20.0])
def test_top_p_of_a_large_vocabulary_is_that_of_sorting_it_all(spread):
    logits = np.random.default_rng(3).normal(0, spread, 150_000).astype(np.float32)
    order = np.argsort(-logits, kind="stable")
    reached = np.cumsum(softmax(logits)[order])
    for p in (0.05, 0.5, 0.95, 0.999):
        n = 1 + int((reached < p - 1e-6).sum())
        ours = np.flatnonzero(np.isfinite(sampling.keep_top_p(logits, p, NOTHING)))
        # Where probabilities are 1e-6 each, rounding moves the end by a few tokens.
        assert abs(len(ours) - n) <= 3 + 1e-5 * n
        assert set(ours) <= set(order[: n + 4 + n // 10_000].tolist())
        assert set(order[: max(0, n - 4 - n // 10_000)].tolist()) <= set(ours)


@pytest.mark.parametrize(
    ("k", "expected"), [(1, {1}), (2, {1, 3}), (3, {0, 1, 3}), (5, {0, 1, 2, 3, 4}), (99, {0, 1, 2, 3, 4})]
)
def test_top_k_keeps_the_exact_set(k, expected):
    assert kept(sampling.keep_top_k(LOGITS, k, NOTHING)) == expected


def test_top_k_keeps_ties():
    assert kept(sampling.keep_top_k(LOGITS, 4, NOTHING)) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("min_p", "expected"), [(0.0, {0, 1, 2, 3, 4}), (0.15, {0, 1, 3}), (0.5, {1, 3}), (0.7, {1}), (1.0, {1})]
)
def test_min_p_is_a_share_of_the_best(min_p, expected):
    assert kept(sampling.keep_min_p(LOGITS, min_p, NOTHING)) == expected


# The entropy is 1.24; the surprises are 2.30, 0.69, 3.00, 1.20 and 3.00. So the order is 3, 1, 0, then 2 and 4.
@pytest.mark.parametrize(
    ("p", "expected"),
    [(0.2, {3}), (0.3, {3}), (0.31, {1, 3}), (0.8, {1, 3}), (0.85, {0, 1, 3}), (0.92, {0, 1, 2, 3, 4})],
)
def test_typical_keeps_what_surprises_as_expected(p, expected):
    assert kept(sampling.keep_typical(LOGITS, p, NOTHING)) == expected


def test_typical_of_equal_tokens_keeps_them_all():
    assert kept(sampling.keep_typical(np.zeros(10, np.float32), 0.3, NOTHING)) == set(range(10))


def test_typical_may_drop_the_likeliest():
    # 0.2 lies in one token and 0.8 in eighty: the entropy is 4.0, and the surprises are 1.6 and 4.6.
    logits = np.log(np.array([0.2] + [0.01] * 80)).astype(np.float32)
    assert kept(sampling.keep_typical(logits, 0.7, NOTHING)) == set(range(1, 81))


def test_temperature_sharpens_and_flattens():
    logits = np.array([0.0, 1.0], np.float32)
    ratio = {t: softmax(sampling.scale_temperature(logits, t, NOTHING))[1] for t in (0.5, 1.0, 2.0)}
    assert ratio[0.5] == pytest.approx(0.8808, abs=1e-4)
    assert ratio[1.0] == pytest.approx(0.7311, abs=1e-4)
    assert ratio[2.0] == pytest.approx(0.6225, abs=1e-4)


@pytest.mark.parametrize(("temperature", "expected"), [(1e-300, {1}), (1e300, {0, 1, 2, 3, 4})])
def test_temperatures_at_the_end_of_what_floats_can_say(temperature, expected):
    settings = Settings(temperature=temperature, top_p=1.0)
    logits = LOGITS * 100
    assert {sampling.choose(logits, settings, NOTHING, uniform) for uniform in np.linspace(0, 0.9999, 50)} == expected


# --- what the text so far changes ---


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits():
    logits = np.array([3.0, -1.0, 3.0, -1.0], np.float32)
    penalised = sampling.penalise_repetition(logits, 2.0, History([0, 0], [1]))
    assert penalised.tolist() == [1.5, -2.0, 3.0, -1.0]


def test_presence_and_frequency_count_what_was_written_and_not_the_prompt():
    logits = np.zeros(4, np.float32)
    history = History([0, 1, 1], [1, 2, 2, 2])
    assert sampling.penalise_presence(logits, 0.5, history).tolist() == [0, -0.5, -0.5, 0]
    assert sampling.penalise_frequency(logits, 0.5, history).tolist() == [0, -0.5, -1.5, 0]
    assert sampling.penalise_presence(logits, -0.5, history).tolist() == [0, 0.5, 0.5, 0]
    for penalise in (sampling.penalise_presence, sampling.penalise_frequency):
        assert penalise(logits, 0.5, History([0, 1])).tolist() == [0, 0, 0, 0]


def test_a_run_of_ids_is_not_written_twice():
    logits = np.zeros(10, np.float32)
    assert kept(sampling.forbid_repeated_ngrams(logits, 3, History([5, 6, 7, 5], [6]))) == set(range(10)) - {7}
    assert kept(sampling.forbid_repeated_ngrams(logits, 2, History([5, 6, 5, 7, 5]))) == set(range(10)) - {6, 7}
    assert kept(sampling.forbid_repeated_ngrams(logits, 1, History([5], [6]))) == set(range(10)) - {5, 6}
    assert kept(sampling.forbid_repeated_ngrams(logits, 9, History([5, 6]))) == set(range(10))


def test_where_every_token_would_be_a_repetition_all_are_allowed():
    assert kept(sampling.forbid_repeated_ngrams(LOGITS, 1, History(range(5)))) == set(range(5))


def test_a_bias_is_added():
    assert sampling.add_bias(np.zeros(3, np.float32), ((1, 2.5), (2, -100)), NOTHING).tolist() == [0, 2.5, -100]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 1), ({"top_k": 2, "top_p": 0.5, "min_p": 0.1}, 1), ({"repetition_penalty": 10.0}, 3),
        ({"presence_penalty": 1.0}, 3), ({"frequency_penalty": 1.0}, 3), ({"no_repeat_ngram": 1}, 3),
        ({"logit_bias": ((4, 9.0),)}, 4), ({"logit_bias": ((4, 9.0),), "repetition_penalty": 1.1}, 4),
    ],
)  # fmt: skip
def test_temperature_zero_is_the_likeliest_after_bias_and_penalties(settings, expected):
    for uniform in (0.0, 0.99):
        chosen = sampling.choose(LOGITS + 4, Settings(temperature=0.0, **settings), History([], [1]), uniform)
        assert (chosen, type(chosen)) == (expected, int)


# --- the table ---

SOME_VALUE = {"logit_bias": ((1, -2.0),), "top_k": 2, "no_repeat_ngram": 1, "presence_penalty": 1.0,
              "frequency_penalty": 1.0}  # fmt: skip


@pytest.mark.parametrize(("name", "neutral", "apply"), sampling.FILTERS)
def test_every_filter_is_pure_has_a_setting_and_a_neutral_value(name, neutral, apply):
    logits, history = LOGITS.copy(), History([1], [3, 3, 0])
    logits.flags.writeable = False
    assert hasattr(Settings(), name)
    value = SOME_VALUE.get(name, 0.5)
    changed = apply(logits, value, history)
    assert changed.dtype == np.float32
    assert not np.array_equal(changed, logits)
    assert getattr(Settings(**{**PLAIN, name: value}), name) != neutral
    assert getattr(Settings(**PLAIN), name) == neutral
    if name != "no_repeat_ngram":
        assert np.allclose(softmax(apply(logits, neutral, history)), PROBS)
    assert history.ids == [1, 3, 3, 0]


# Each with the distribution that follows from PROBS after the text 3 3 0, whose prompt was 1.
FREQUENCIES = [
    ({}, PROBS),
    ({"temperature": 0.5}, PROBS**2),
    ({"temperature": 2.0}, PROBS**0.5),
    ({"top_k": 2}, PROBS * [0, 1, 0, 1, 0]),
    ({"top_p": 0.81}, PROBS * [1, 1, 0, 1, 0]),
    ({"min_p": 0.5}, PROBS * [0, 1, 0, 1, 0]),
    ({"typical_p": 0.85}, PROBS * [1, 1, 0, 1, 0]),
    ({"logit_bias": ((2, 1.0), (1, -1.0))}, PROBS * np.exp([0, -1, 1, 0, 0])),
    ({"repetition_penalty": 1.5}, PROBS ** np.array([1.5, 1.5, 1, 1.5, 1])),
    ({"presence_penalty": 0.7}, PROBS * np.exp([-0.7, 0, 0, -0.7, 0])),
    ({"frequency_penalty": 0.7}, PROBS * np.exp([-0.7, 0, 0, -1.4, 0])),
    ({"no_repeat_ngram": 1}, PROBS * [0, 0, 1, 0, 1]),
    # 2 and 4 tie for the third place, so four stay.
    ({"temperature": 2.0, "presence_penalty": 0.7, "top_k": 3},
     (PROBS * np.exp([0, 0, 0, -0.7, 0])) ** 0.5 * [0, 1, 1, 1, 1]),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "weights"), FREQUENCIES, ids=[str(settings) for settings, _ in FREQUENCIES])
def test_ids_come_as_often_as_they_should(settings, weights):
    expected = weights / weights.sum()
    n, chosen = 20_000, Settings(**{**PLAIN, **settings})
    history = History([1], [3, 3, 0])
    uniforms = sampling.noise(0, [1]).random(n)
    counts = np.bincount([sampling.choose(LOGITS, chosen, history, uniform) for uniform in uniforms], minlength=5)
    possible = expected > 0
    assert counts[~possible].sum() == 0
    statistic = ((counts - n * expected)[possible] ** 2 / (n * expected[possible])).sum()
    assert statistic < CHI_SQUARE[possible.sum() - 1]


@pytest.mark.parametrize("seed", range(3))
def test_filters_equal_those_of_transformers(seed):
    theirs = pytest.importorskip("transformers.generation.logits_process")
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (4, 300)).astype(np.float32)
    ids = np.stack([rng.integers(0, 300, 40), rng.integers(0, 3, 40), rng.integers(0, 8, 40), rng.integers(0, 2, 40)])
    bias = ((7, 2.5), (11, -100.0))
    pairs = [
        (sampling.keep_top_k, 17, theirs.TopKLogitsWarper(17)),
        (sampling.keep_top_p, 0.83, theirs.TopPLogitsWarper(0.83)),
        (sampling.keep_min_p, 0.07, theirs.MinPLogitsWarper(0.07)),
        (sampling.keep_typical, 0.83, theirs.TypicalLogitsWarper(0.83)),
        (sampling.keep_typical, 0.2, theirs.TypicalLogitsWarper(0.2)),
        (sampling.penalise_repetition, 1.3, theirs.RepetitionPenaltyLogitsProcessor(1.3)),
        (sampling.penalise_repetition, 0.7, theirs.RepetitionPenaltyLogitsProcessor(0.7)),
        (sampling.forbid_repeated_ngrams, 2, theirs.NoRepeatNGramLogitsProcessor(2)),
        (sampling.forbid_repeated_ngrams, 4, theirs.NoRepeatNGramLogitsProcessor(4)),
        (sampling.add_bias, bias, theirs.SequenceBiasLogitsProcessor({(id_,): value for id_, value in bias})),
    ]
    for ours, value, judge in pairs:
        expected = judge(torch.from_numpy(ids), torch.from_numpy(logits.copy())).numpy()
        for row, row_ids, row_expected in zip(logits, ids, expected, strict=True):
            np.testing.assert_allclose(ours(row, value, History(row_ids[:20], row_ids[20:])), row_expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_chain_equals_that_of_transformers(seed):
    theirs = pytest.importorskip("transformers.generation.logits_process")
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, 300).astype(np.float32)
    ids = rng.integers(0, 20, 40)
    settings = Settings(temperature=0.7, top_k=60, typical_p=0.97, top_p=0.9, min_p=0.01, repetition_penalty=1.2,
                        no_repeat_ngram=2)  # fmt: skip
    chain = [
        theirs.RepetitionPenaltyLogitsProcessor(1.2), theirs.NoRepeatNGramLogitsProcessor(2),
        theirs.TemperatureLogitsWarper(0.7), theirs.TopKLogitsWarper(60), theirs.TypicalLogitsWarper(0.97),
        theirs.TopPLogitsWarper(0.9), theirs.MinPLogitsWarper(0.01),
    ]  # fmt: skip
    expected = torch.from_numpy(logits)[None]
    for judge in chain:
        expected = judge(torch.from_numpy(ids)[None], expected)
    cumulated = expected[0].double().softmax(-1).cumsum(-1).numpy()
    for uniform in rng.random(300):
        id_ = sampling.choose(logits, settings, History(ids), uniform)
        assert cumulated[id_ - 1] - 1e-6 <= uniform <= cumulated[id_] + 1e-6


# --- the draw ---


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 4))
def test_the_draw_never_takes_what_is_ruled_out(uniform, ruled_out):
    logits = LOGITS.copy()
    logits[ruled_out] = sampling.RULED_OUT
    assert sampling.draw(logits, uniform) != ruled_out


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=20), st.floats(0, 1, exclude_max=True))
def test_the_draw_is_an_id_whatever_the_logits(logits, uniform):
    for number in (uniform, 0.0, math.nextafter(1, 0)):
        assert 0 <= sampling.draw(np.array(logits, np.float32), number) < len(logits)


def test_noise_depends_on_seed_prompt_and_copy_only():
    def numbers(*arguments):
        return sampling.noise(*arguments).random(4).tolist()

    assert numbers(1, [5, 6]) == numbers(1, (5, 6), 0)
    assert len({tuple(numbers(*a)) for a in [(1, [5, 6]), (2, [5, 6]), (1, [6, 5]), (1, [5, 6], 1)]}) == 4


@pytest.mark.parametrize("wrong", [[math.nan, 1], [math.inf, 1], [-math.inf, -math.inf]])
def test_logits_that_are_no_numbers_are_told(wrong):
    for temperature in (0.0, 1.0):
        with pytest.raises(ArtefactError, match="not finite"):
            sampling.choose(np.array(wrong, np.float32), Settings(temperature=temperature), NOTHING, 0.5)


# --- what is told about the choice ---


def test_log_probabilities_are_those_of_torch():
    logits = np.random.default_rng(0).normal(0, 5, 1000).astype(np.float32) + 50
    expected = torch.from_numpy(logits).double().log_softmax(-1)
    assert sampling.log_probability(logits, 7) == pytest.approx(expected[7].item(), abs=1e-5)
    np.testing.assert_allclose(sampling.log_probabilities(logits), expected.numpy(), atol=2e-5)
    best = expected.topk(5)
    ids, logprobs = zip(*sampling.alternatives(logits, 5), strict=True)
    assert list(ids) == best.indices.tolist()
    assert list(logprobs) == pytest.approx(best.values.tolist(), abs=1e-5)


def test_alternatives_are_ordered_and_as_many_as_there_are():
    assert [id_ for id_, _ in sampling.alternatives(LOGITS, 4)] == [1, 3, 0, 2]
    assert [round(math.exp(logprob), 3) for _, logprob in sampling.alternatives(LOGITS, 99)] == [
        0.5,
        0.3,
        0.1,
        0.05,
        0.05,
    ]
    assert sampling.alternatives(LOGITS, 0) == []


# --- settings ---


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1.0}, {"temperature": math.nan}, {"temperature": math.inf}, {"top_p": 0.0}, {"top_p": 1.1},
     {"top_p": math.nan}, {"top_k": -1}, {"min_p": 2.0}, {"min_p": math.nan}, {"typical_p": 0.0}, {"typical_p": 1.5},
     {"repetition_penalty": 0.0}, {"repetition_penalty": math.inf}, {"presence_penalty": math.nan},
     {"presence_penalty": math.inf}, {"frequency_penalty": -math.inf}, {"frequency_penalty": 1e30},
     {"no_repeat_ngram": -1}, {"logit_bias": ((-1, 2.0),)}, {"logit_bias": ((1, math.nan),)},
     {"logit_bias": ((1, 2.0), (1, 3.0))}, {"max_new_tokens": 0}, {"seed": -1}, {"stop": ("",)},
     {"n_alternatives": -1}],
)  # fmt: skip
def test_a_setting_out_of_range_is_named(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Settings(**wrong)


def test_a_bias_of_an_id_that_is_not_in_the_vocabulary_is_told():
    Settings(logit_bias=((4, 1.0),)).check_vocabulary(5)
    with pytest.raises(UsageError, match="id 5"):
        Settings(logit_bias=((5, 1.0),)).check_vocabulary(5)


# --- speed ---


@pytest.mark.parametrize(
    "settings",
    [{}, {"top_k": 50}, {"typical_p": 0.9}, {"top_p": 1.0}, {"temperature": 0.0},
     {"repetition_penalty": 1.1, "presence_penalty": 0.5, "frequency_penalty": 0.5, "no_repeat_ngram": 3}],
    ids=str,
)  # fmt: skip
def test_a_vocabulary_of_150_000_takes_about_a_millisecond(settings):
    """Ten times that, because other things run on the machine; sorting all of it takes longer."""
    rng = np.random.default_rng(0)
    logits = rng.gumbel(0, 2, 150_000).astype(np.float32)
    chosen, history = Settings(**settings), History(rng.integers(0, 150_000, 2000))
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        id_ = sampling.choose(logits, chosen, history, 0.5)
        sampling.log_probability(logits, id_)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.01
