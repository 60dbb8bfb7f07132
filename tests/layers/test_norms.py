"""LayerNorm and RMSNorm against torch's own, and the textbook forms against the fused ones."""

import pytest
import torch
from torch import nn

from groundup.layers.norms import LayerNorm, RMSNorm

KERNELS = ["fused", "textbook"]


def learned(norm):
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.normal_()
    return norm


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda k: LayerNorm(8, 1e-5, kernels=k), lambda: nn.LayerNorm(8, 1e-5)),
        (lambda k: LayerNorm(8, 1e-3, bias=False, kernels=k), lambda: nn.LayerNorm(8, 1e-3, bias=False)),
        (lambda k: RMSNorm(8, 1e-6, kernels=k), lambda: nn.RMSNorm(8, 1e-6)),
    ],
)
def test_equals_torch_in_outputs_and_gradients(kernels, ours, theirs):
    ours, theirs = learned(ours(kernels)), theirs()
    theirs.load_state_dict(ours.state_dict())
    x = (3 + 2 * torch.randn(2, 5, 8)).requires_grad_()
    weights = torch.randn(2, 5, 8)

    results = []
    for norm in (ours, theirs):
        y = norm(x)
        results.append([y, *torch.autograd.grad((y * weights).sum(), [x, *norm.parameters()])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm])
def test_computes_in_fp32_under_bf16(norm, kernels):
    norm = learned(norm(512, kernels=kernels)).bfloat16()
    x = (20 + torch.randn(6, 512)).bfloat16()

    exact = norm.double()(x.double())
    y = norm.bfloat16()(x)

    assert y.dtype == torch.bfloat16
    # Rounded once, at the end: half a unit in the last of 8 bits. Sums in bf16 would be off by several units.
    torch.testing.assert_close(y.double(), exact, rtol=2**-8, atol=1e-6)


def test_worked_examples():
    assert RMSNorm(2, eps=0.0)(torch.tensor([1.0, 7.0])).tolist() == pytest.approx([0.2, 1.4])
    assert LayerNorm(2, eps=0.0)(torch.tensor([1.0, 7.0])).tolist() == pytest.approx([-1.0, 1.0])
