"""Activations against torch's, and GPT-2's GELU against transformers'."""

import math

import pytest
import torch
import torch.nn.functional as F

from groundup.layers.activations import ACTIVATIONS, gelu, gelu_tanh, relu_squared, silu
from tests.layers.agreement import DTYPES, KERNELS, assert_agree

X = torch.linspace(-8, 8, 401, dtype=torch.float64)
THEIRS = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu_squared": lambda x: F.relu(x) ** 2,
}


@pytest.mark.parametrize("dtype", [torch.float64, *DTYPES])
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_equals_torch_in_outputs_and_gradients(name, kernels, dtype):
    assert_agree(lambda x: ACTIVATIONS[name](x, kernels), THEIRS[name], [X], dtype)


def test_those_of_transformers():
    activations = pytest.importorskip("transformers.activations")
    for name, theirs in (("gelu_tanh", "gelu_new"), ("relu_squared", "relu2")):
        assert_agree(ACTIVATIONS[name], activations.ACT2FN[theirs], [X])
    assert 1e-5 < (gelu_tanh(X) - gelu(X)).abs().max() < 5e-4


@pytest.mark.parametrize("kernels", KERNELS)
def test_worked_examples(kernels):
    assert silu(torch.tensor(1.0), kernels).item() == pytest.approx(1 / (1 + math.exp(-1)))
    assert gelu(torch.tensor(1.0), kernels).item() == pytest.approx(0.841345)  # the standard normal distribution at 1
    assert relu_squared(torch.tensor([-3.0, 0.0, 3.0]), kernels).tolist() == [0, 0, 9]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernels", KERNELS)
def test_far_out_is_finite(kernels, dtype):
    for activation in (silu, gelu, gelu_tanh):
        far = torch.tensor([-200.0, 200.0], dtype=dtype, requires_grad=True)
        y = activation(far, kernels)
        y.sum().backward()
        assert y.tolist() == [0, 200]
        assert far.grad.tolist() == [0, 1]
