"""Softmax against torch's own."""

import math

import pytest
import torch

from groundup.layers.softmax import softmax
from tests.layers.agreement import DTYPES, assert_agree


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_equals_torch_on_any_dimension(dim, dtype):
    # Torch's own in bf16 computes its gradient from rounded probabilities, 25 times as far from the exact one.
    def theirs(x):
        return torch.softmax(x, dim, dtype=torch.float32).to(dtype)

    assert_agree(lambda x: softmax(x, dim), theirs, [5 * torch.randn(3, 4, 5)], dtype)


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
