"""Schedules at hand-computed points, and clipping against torch's."""

import doctest

import pytest
import torch

from groundup.optim import schedules
from groundup.optim.clipping import gradient_clip


def test_cosine_golden_values():
    at = {s: schedules.cosine(s, lr=1.0, min_lr=0.1, warmup_steps=7, n_steps=21) for s in (0, 3, 7, 14, 21, 22)}
    assert at == pytest.approx({0: 0.0, 3: 3 / 7, 7: 1.0, 14: 0.55, 21: 0.1, 22: 0.1})


def test_worked_examples_in_the_docstrings():
    assert doctest.testmod(schedules).failed == 0
    assert doctest.testmod(schedules).attempted >= 2


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_schedules_warm_up_and_never_exceed_lr(name):
    rates = [schedules.SCHEDULES[name](s, lr=2.0, min_lr=0.5, warmup_steps=10, n_steps=50) for s in range(60)]
    assert rates[0] == 0.0 and rates[10] == 2.0 and max(rates) == 2.0
    assert rates[:11] == sorted(rates[:11]) and rates[10:] == sorted(rates[10:], reverse=True)


def test_a_run_shorter_than_its_warm_up_still_has_a_rate():
    assert schedules.linear(1, lr=1.0, min_lr=0.0, warmup_steps=0, n_steps=1) == 0.0
    assert schedules.cosine(0, lr=1.0, min_lr=0.0, warmup_steps=0, n_steps=0) == 1.0


@pytest.mark.parametrize("max_norm", [0.5, 1000.0])
def test_gradient_clip_equals_torch(max_norm):
    def parameters() -> list[torch.nn.Parameter]:
        torch.manual_seed(0)
        made = [
            torch.nn.Parameter(torch.randn(4, 3)),
            torch.nn.Parameter(torch.randn(5)),
            torch.nn.Parameter(torch.randn(2)),
        ]
        for p in made[:2]:
            p.grad = torch.randn_like(p)
        return made

    ours, theirs = parameters(), parameters()
    norm = gradient_clip(ours, max_norm)
    torch.testing.assert_close(norm, torch.nn.utils.clip_grad_norm_(theirs, max_norm))
    for a, b in zip(ours[:2], theirs[:2], strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-6, rtol=0)
