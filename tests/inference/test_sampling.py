"""Filters against distributions that a person can check, and against transformers' filters."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groundup.errors import UsageError
from groundup.inference import sampling
from groundup.inference.settings import Settings

PROBS = torch.tensor([[0.1, 0.5, 0.05, 0.3, 0.05]])
LOGITS = PROBS.log()
PLAIN = {"temperature": 1.0, "top_p": 1.0}


def kept(logits: torch.Tensor) -> set[int]:
    return set(torch.isfinite(logits[0]).nonzero()[:, 0].tolist())


@pytest.mark.parametrize(
    ("p", "expected"),
    [(1e-9, {1}), (0.4, {1}), (0.5, {1}), (0.51, {1, 3}), (0.8, {1, 3}), (0.81, {0, 1, 3}), (0.9, {0, 1, 3})],
)
def test_top_p_keeps_the_exact_nucleus(p, expected):
    assert kept(sampling.keep_top_p(LOGITS, p)) == expected


def test_top_p_of_one_is_plain_sampling():
    assert torch.equal(sampling.keep_top_p(LOGITS, 1.0), LOGITS)
    uniform = torch.linspace(0, 0.9999, 200, dtype=torch.float64)
    logits = LOGITS.expand(200, -1)
    plain = sampling.draw(logits, uniform)
    assert torch.equal(sampling.sample(logits, Settings(**PLAIN), None, uniform), plain)


def test_top_p_near_zero_is_greedy():
    uniform = torch.linspace(0, 0.9999, 50, dtype=torch.float64)
    ids = sampling.sample(LOGITS.expand(50, -1), Settings(temperature=1.0, top_p=1e-9), None, uniform)
    assert set(ids.tolist()) == {1}


def test_top_p_of_equal_tokens_keeps_as_many_as_needed():
    assert len(kept(sampling.keep_top_p(torch.zeros(1, 10), 0.3))) == 3


@pytest.mark.parametrize(
    ("k", "expected"), [(1, {1}), (2, {1, 3}), (3, {0, 1, 3}), (5, {0, 1, 2, 3, 4}), (99, {0, 1, 2, 3, 4})]
)
def test_top_k_keeps_the_exact_set(k, expected):
    assert kept(sampling.keep_top_k(LOGITS, k)) == expected


def test_top_k_keeps_ties():
    assert kept(sampling.keep_top_k(LOGITS, 4)) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("min_p", "expected"), [(0.0, {0, 1, 2, 3, 4}), (0.15, {0, 1, 3}), (0.5, {1, 3}), (0.7, {1}), (1.0, {1})]
)
def test_min_p_is_a_share_of_the_best(min_p, expected):
    assert kept(sampling.keep_min_p(LOGITS, min_p)) == expected


def test_temperature_sharpens_and_flattens():
    logits = torch.tensor([[0.0, 1.0]])
    ratio = {t: sampling.scale_temperature(logits, t).softmax(-1)[0, 1].item() for t in (0.5, 1.0, 2.0)}
    assert ratio[0.5] == pytest.approx(0.8808, abs=1e-4)
    assert ratio[1.0] == pytest.approx(0.7311, abs=1e-4)
    assert ratio[2.0] == pytest.approx(0.6225, abs=1e-4)


def test_temperature_zero_is_argmax_whatever_else_is_set():
    settings = Settings(temperature=0.0, top_k=2, top_p=0.5, min_p=0.1)
    assert sampling.sample(LOGITS, settings, None, torch.tensor([0.99])).tolist() == [1]


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits():
    logits = torch.tensor([[3.0, -1.0, 3.0, -1.0]])
    seen = torch.tensor([[True, True, False, False]])
    assert sampling.penalise_repetition(logits, 2.0, seen).tolist() == [[1.5, -2.0, 3.0, -1.0]]


def test_repetition_penalty_also_applies_to_greedy_choice():
    settings = Settings(temperature=0.0, repetition_penalty=10.0)
    seen = torch.tensor([[False, True, False, False, False]])
    assert sampling.sample(LOGITS + 4, settings, seen, torch.tensor([0.0])).tolist() == [3]


@pytest.mark.parametrize(("name", "neutral", "apply"), sampling.FILTERS)
def test_every_filter_is_pure_has_a_setting_and_a_neutral_value(name, neutral, apply):
    before = LOGITS.clone()
    seen = torch.ones_like(LOGITS, dtype=torch.bool)
    assert hasattr(Settings(), name)
    if neutral != 0 or name == "min_p":
        assert torch.equal(apply(LOGITS, neutral, seen), before)
    apply(LOGITS, 1 if name == "top_k" else 0.5, seen)
    assert torch.equal(LOGITS, before)


def test_the_draw_follows_the_distribution():
    n = 20_000
    uniform = torch.from_numpy(sampling.noise(0, [1]).random(n))
    ids = sampling.draw(LOGITS.expand(n, -1), uniform)
    shares = torch.bincount(ids, minlength=5) / n
    assert torch.allclose(shares, PROBS[0], atol=0.015)


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 4))
def test_the_draw_never_takes_what_is_ruled_out(uniform, ruled_out):
    logits = LOGITS.clone()
    logits[0, ruled_out] = sampling.RULED_OUT
    assert sampling.draw(logits, torch.tensor([uniform], dtype=torch.float64)).item() != ruled_out


def test_noise_depends_on_seed_prompt_and_copy_only():
    def numbers(*arguments):
        return sampling.noise(*arguments).random(4).tolist()

    assert numbers(1, [5, 6]) == numbers(1, (5, 6), 0)
    assert len({tuple(numbers(*a)) for a in [(1, [5, 6]), (2, [5, 6]), (1, [6, 5]), (1, [5, 6], 1)]}) == 4


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 1.1}, {"top_k": -1},
     {"min_p": 2.0}, {"repetition_penalty": 0.0}, {"max_new_tokens": 0}, {"seed": -1}, {"stop": ("",)}],
)  # fmt: skip
def test_a_setting_out_of_range_is_named(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Settings(**wrong)


@pytest.mark.parametrize("seed", range(3))
def test_filters_equal_those_of_transformers(seed):
    warpers = pytest.importorskip("transformers.generation.logits_process")
    logits = torch.randn(4, 300, generator=torch.Generator().manual_seed(seed)) * 3
    ids = torch.randint(0, 300, (4, 20), generator=torch.Generator().manual_seed(seed))
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, ids, True)
    pairs = [
        (sampling.keep_top_k(logits, 17), warpers.TopKLogitsWarper(17)(ids, logits)),
        (sampling.keep_top_p(logits, 0.83), warpers.TopPLogitsWarper(0.83)(ids, logits)),
        (sampling.keep_min_p(logits, 0.07), warpers.MinPLogitsWarper(0.07)(ids, logits)),
        (sampling.scale_temperature(logits, 0.7), warpers.TemperatureLogitsWarper(0.7)(ids, logits)),
        (sampling.penalise_repetition(logits, 1.3, seen), warpers.RepetitionPenaltyLogitsProcessor(1.3)(ids, logits)),
    ]
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs)
