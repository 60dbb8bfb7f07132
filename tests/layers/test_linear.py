"""Linear against torch's own."""

import math

import pytest
import torch
from torch import nn

from groundup.layers.linear import Linear


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("leading", [(), (3,), (2, 3, 4)])
def test_equals_torch_for_any_leading_dimensions(bias, leading):
    ours = Linear(5, 7, bias)
    theirs = nn.Linear(5, 7, bias)
    with torch.no_grad():
        theirs.weight.copy_(ours.weight)
        if bias:
            ours.bias.normal_()
            theirs.bias.copy_(ours.bias)
    x = torch.randn(*leading, 5)

    torch.testing.assert_close(ours(x), theirs(x))


def test_worked_example():
    linear = Linear(2, 3, bias=True)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        linear.bias.copy_(torch.tensor([0.0, 0.0, 10.0]))

    assert linear(torch.tensor([2.0, 3.0])).tolist() == [2.0, 3.0, 15.0]


def test_starts_from_a_cut_normal_distribution():
    torch.manual_seed(0)
    linear = Linear(300, 500, bias=True)
    std = math.sqrt(2 / 800)

    assert linear.weight.shape == (500, 300)
    assert linear.weight.abs().max() <= 3 * std
    assert linear.weight.std().item() == pytest.approx(std, rel=0.02)  # cutting at 3 std takes 1.3 % of it
    assert linear.weight.mean().item() == pytest.approx(0, abs=std / 50)
    assert linear.bias.abs().max() == 0
