"""Linear against torch's own."""

import math

import pytest
import torch
from torch import nn

from groundup.layers.linear import Linear
from tests.layers.agreement import DTYPES, assert_agree, copied, gradients


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("leading", [(), (3,), (2, 3, 4)])
def test_equals_torch_for_any_leading_dimensions(bias, leading, dtype):
    ours, theirs = Linear(5, 7, bias).to(dtype), nn.Linear(5, 7, bias).to(dtype)
    copied(theirs, zip(ours.parameters(), theirs.parameters(), strict=True))
    names = {name: name for name, _ in ours.named_parameters()}

    assert_agree(ours, theirs, [torch.randn(*leading, 5)], dtype, lambda: gradients(ours, theirs, names))


def test_worked_example():
    linear = Linear(2, 3, bias=True)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        linear.bias.copy_(torch.tensor([0.0, 0.0, 10.0]))

    assert linear(torch.tensor([2.0, 3.0])).tolist() == [2.0, 3.0, 15.0]


@pytest.mark.parametrize(("n_in", "n_out"), [(300, 500), (500, 300), (64, 1024)])
def test_starts_from_a_cut_normal_distribution(n_in, n_out):
    linear = Linear(n_in, n_out, bias=True)
    std = math.sqrt(2 / (n_in + n_out))
    of_std = linear.weight.flatten() / std

    assert linear.weight.shape == (n_out, n_in)
    assert of_std.abs().max() <= 3
    assert of_std.std().item() == pytest.approx(0.9866, rel=0.01)  # what cutting at 3 leaves
    assert of_std.mean().item() == pytest.approx(0, abs=0.02)
    # Normal and not uniform: 68.3 % within one std, 95.4 % within two, of the 99.7 % within three.
    for reach, share in ((1, 0.6827), (2, 0.9545)):
        assert (of_std.abs() < reach).float().mean().item() == pytest.approx(share / 0.9973, abs=0.01)
    assert linear.bias.abs().max() == 0
