"""Softmax against torch's own."""

import math

import pytest
import torch

from groundup.layers.softmax import softmax


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_equals_torch_on_any_dimension(dim):
    x = 5 * torch.randn(3, 4, 5)

    torch.testing.assert_close(softmax(x, dim), torch.softmax(x, dim), atol=1e-6, rtol=0)


def test_is_stable():
    x = torch.randn(4, 6)

    torch.testing.assert_close(softmax(x + 1000, -1), softmax(x, -1), atol=1e-4, rtol=0)
    assert softmax(torch.tensor([1e30, 1e30, -1e30])).tolist() == [0.5, 0.5, 0.0]


def test_nothing_to_choose_from_is_zero():
    x = torch.tensor([[-math.inf, -math.inf], [0.0, -math.inf]], requires_grad=True)
    probs = softmax(x)
    probs.square().sum().backward()

    assert probs.tolist() == [[0.0, 0.0], [1.0, 0.0]]
    assert x.grad.isfinite().all()


def test_keeps_the_dtype_and_sums_in_fp32():
    probs = softmax(torch.zeros(4096, dtype=torch.bfloat16))

    assert probs.dtype == torch.bfloat16
    assert probs.float().sum() == 1
