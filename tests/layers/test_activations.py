"""Activations against torch's, and GPT-2's GELU against transformers'."""

import math

import pytest
import torch
import torch.nn.functional as F

from groundup.layers.activations import gelu, gelu_tanh, silu

X = torch.linspace(-8, 8, 401, dtype=torch.float64)


@pytest.mark.parametrize("kernels", ["fused", "textbook"])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(silu, F.silu), (gelu, F.gelu), (gelu_tanh, lambda x: F.gelu(x, approximate="tanh"))],
    ids=["silu", "gelu", "gelu_tanh"],
)
def test_equals_torch_in_outputs_and_gradients(ours, theirs, kernels):
    one, other = X.clone().requires_grad_(), X.clone().requires_grad_()
    ours(one, kernels).sum().backward()
    theirs(other).sum().backward()

    torch.testing.assert_close(ours(X, kernels), theirs(X), atol=1e-12, rtol=0)
    torch.testing.assert_close(one.grad, other.grad, atol=1e-12, rtol=0)


def test_gelu_tanh_is_gpt2s():
    activations = pytest.importorskip("transformers.activations")
    x = X.float()

    torch.testing.assert_close(gelu_tanh(x), activations.ACT2FN["gelu_new"](x), atol=1e-6, rtol=0)
    assert 1e-5 < (gelu_tanh(X) - gelu(X)).abs().max() < 5e-4


def test_worked_examples():
    assert silu(torch.tensor(1.0)).item() == pytest.approx(1 / (1 + math.exp(-1)))
    assert gelu(torch.tensor(1.0)).item() == pytest.approx(0.841345)  # the standard normal distribution at 1


@pytest.mark.parametrize("kernels", ["fused", "textbook"])
def test_far_out_is_finite(kernels):
    far = torch.tensor([-200.0, 200.0])
    for activation in (silu, gelu, gelu_tanh):
        torch.testing.assert_close(activation(far, kernels), torch.tensor([0.0, 200.0]))
