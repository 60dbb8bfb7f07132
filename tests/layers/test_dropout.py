"""Dropout: how much it keeps, and that the mean stays."""

import math

import pytest
import torch
import torch.nn.functional as F

from groundup.layers.dropout import dropout
from tests.layers.agreement import DTYPES, KERNELS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_keeps_its_share_and_scales_what_it_keeps(share, kernels, dtype):
    n, x = 100_000, torch.full((100, 1000), 3.0, dtype=dtype, requires_grad=True)
    y = dropout(x, share, kernels)
    n_kept = (y != 0).sum().item()

    # A binomial count is within 5 std of its mean in all but one of two million runs.
    assert abs(n_kept - (1 - share) * n) < 5 * math.sqrt(n * share * (1 - share))
    assert y.unique().tolist() == pytest.approx([0, 3 / (1 - share)], rel=torch.finfo(dtype).eps)
    assert y.float().mean().item() == pytest.approx(3, rel=5 * math.sqrt(share / (1 - share) / n) + 2**-8)
    # What was dropped learns nothing, what was kept learns scaled.
    y.sum().backward()
    assert torch.equal(x.grad == 0, y == 0)
    assert x.grad.unique().tolist() == pytest.approx([0, 1 / (1 - share)], rel=torch.finfo(dtype).eps)
    # No row and no column is favoured.
    assert ((y != 0).float().mean(0) - (1 - share)).abs().max() < 0.3


@pytest.mark.parametrize("kernels", KERNELS)
def test_nothing_is_dropped_outside_training(kernels):
    x = torch.randn(5)
    assert dropout(x, 0.0, kernels) is x


def test_fused_is_torchs():
    x = torch.randn(50)
    torch.manual_seed(3)
    ours = dropout(x, 0.3)
    torch.manual_seed(3)
    assert torch.equal(ours, F.dropout(x, 0.3))
