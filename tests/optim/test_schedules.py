"""Schedules at points worked out by hand, and against transformers' own."""

import doctest
import functools
from types import ModuleType

import pytest

from groundup.optim import schedules
from groundup.optim.schedules import SCHEDULES

# lr 1, min_lr 0.1, 10 steps of warm-up, 110 in all: at 0, half of the warm-up, its end, the middle, the end, beyond.
GOLDEN = {
    "cosine": [0.0, 0.5, 1.0, 0.55, 0.1, 0.1],
    "linear": [0.0, 0.5, 1.0, 0.1 + 0.9 * 50 / 66, 0.1, 0.1],
    "wsd": [0.0, 0.5, 1.0, 1.0, 0.1, 0.1],
    "inverse_sqrt": [0.0, 0.5, 1.0, (10 / 60) ** 0.5, (10 / 110) ** 0.5, 0.1],
    "constant": [0.0, 0.5, 1.0, 1.0, 1.0, 1.0],
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_golden_values(name):
    asked = (0, 5, 10, 60, 110, 5000)
    found = [SCHEDULES[name](s, lr=1.0, min_lr=0.1, warmup_steps=10, n_steps=110) for s in asked]
    assert found == pytest.approx(GOLDEN[name])


def test_the_fall_of_wsd_is_one_minus_the_root():
    rates = [schedules.wsd(s, lr=1.0, min_lr=0.0, warmup_steps=10, n_steps=100) for s in (80, 81, 85, 95, 100)]
    assert rates == pytest.approx([1, 1 - 0.05**0.5, 0.5, 1 - 0.75**0.5, 0])


@pytest.mark.parametrize("name", ["linear", "wsd"])
def test_the_share_of_the_cooldown_can_be_chosen(name):
    at = functools.partial(SCHEDULES[name], lr=1.0, min_lr=0.0, warmup_steps=0, n_steps=100)
    assert at(69.9, cooldown_fraction=0.3) == at(70, cooldown_fraction=0.3) == 1.0 > at(70.1, cooldown_fraction=0.3)
    own = {"linear": 0.6, "wsd": 0.2}[name]
    assert [at(s, cooldown_fraction=0.0) for s in range(101)] == [at(s, cooldown_fraction=own) for s in range(101)]
    assert at(0.5, cooldown_fraction=1.0) < 1.0


def test_worked_examples_in_the_docstrings():
    assert doctest.testmod(schedules).failed == 0
    assert doctest.testmod(schedules).attempted == 4


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_warm_up_and_never_exceed_lr(name):
    tenths = [step / 10 for step in range(600)]  # steps between two whole ones lie on the same curve
    rates = [SCHEDULES[name](s, lr=2.0, min_lr=0.5, warmup_steps=10, n_steps=50) for s in tenths]
    assert rates[0] == 0.0 and rates[100] == 2.0 and max(rates) == 2.0
    assert rates[:101] == sorted(rates[:101]) and rates[100:] == sorted(rates[100:], reverse=True)
    # No jump anywhere: the warm-up rises by 0.02 in a tenth, and 1 - sqrt falls by at most 1.5 sqrt(0.1 / 10).
    assert max(abs(b - a) for a, b in zip(rates, rates[1:], strict=False)) < 0.16


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("n_steps", [0, 1, 2])
def test_a_run_shorter_than_its_warm_up_still_has_a_rate(name, n_steps):
    for step in range(4):
        assert 0 <= SCHEDULES[name](step, lr=1.0, min_lr=0.0, warmup_steps=0, n_steps=n_steps) <= 1
        assert 0 <= SCHEDULES[name](step, lr=1.0, min_lr=0.0, warmup_steps=3, n_steps=n_steps) <= 1


@pytest.fixture
def theirs() -> ModuleType:
    return pytest.importorskip("transformers.optimization")


@pytest.mark.parametrize("warmup_steps", [0, 7])
def test_they_are_those_of_transformers(theirs, warmup_steps):
    usual = {"num_warmup_steps": warmup_steps, "num_training_steps": 50}
    fall = {
        "num_warmup_steps": warmup_steps, "num_stable_steps": 40 - warmup_steps, "num_decay_steps": 10,
        "warmup_type": "linear", "decay_type": "1-sqrt", "min_lr_ratio": 0.0, "num_cycles": 0.5,
    }  # fmt: skip
    pairs = [
        ("cosine", 0.0, theirs._get_cosine_schedule_with_warmup_lr_lambda, {**usual, "num_cycles": 0.5}),
        ("linear", 1.0, theirs._get_linear_schedule_with_warmup_lr_lambda, usual),
        ("wsd", 0.2, theirs._get_wsd_scheduler_lambda, fall),
        ("constant", 0.0, theirs._get_constant_schedule_with_warmup_lr_lambda, {"num_warmup_steps": warmup_steps}),
    ]
    if warmup_steps:
        times = {"num_warmup_steps": warmup_steps, "timescale": warmup_steps}
        pairs.append(("inverse_sqrt", 0.0, theirs._get_inverse_sqrt_schedule_lr_lambda, times))
    for name, cooldown_fraction, peer, settings in pairs:
        ours = functools.partial(
            SCHEDULES[name], lr=1.0, min_lr=0.0, warmup_steps=warmup_steps, n_steps=50,
            cooldown_fraction=cooldown_fraction,
        )  # fmt: skip
        found = [ours(step) for step in range(51)]
        assert found == pytest.approx([peer(step, **settings) for step in range(51)]), name
