"""Clipping against torch's own."""

import pytest
import torch

from groundup.optim.clipping import gradient_clip


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


def test_without_a_gradient_the_norm_is_zero_and_never_clipping_is_infinity():
    weight = torch.nn.Parameter(torch.ones(3))
    assert gradient_clip([weight], 1.0).item() == 0.0
    weight.grad = torch.full((3,), 10.0)
    assert gradient_clip([weight], float("inf")).item() == pytest.approx(300**0.5)
    assert weight.grad.tolist() == [10.0] * 3
