"""LayerNorm and RMSNorm against torch's own, and the textbook forms against the fused ones."""

import pytest
import torch
from torch import nn

from groundup.layers.norms import LayerNorm, RMSNorm
from tests.layers.agreement import DTYPES, KERNELS, assert_agree, copied, gradients


def learned(norm):
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.normal_()
    return norm


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda k: LayerNorm(8, 1e-5, kernels=k), lambda: nn.LayerNorm(8, 1e-5)),
        (lambda k: LayerNorm(8, 1e-3, bias=False, kernels=k), lambda: nn.LayerNorm(8, 1e-3, bias=False)),
        (lambda k: RMSNorm(8, 1e-6, kernels=k), lambda: nn.RMSNorm(8, 1e-6)),
    ],
    ids=["LayerNorm", "LayerNorm without bias", "RMSNorm"],
)
def test_equals_torch_in_outputs_and_gradients(kernels, ours, theirs, dtype):
    ours, theirs = ours(kernels).to(dtype), theirs().to(dtype)
    copied(theirs, zip(ours.parameters(), theirs.parameters(), strict=True), std=1)
    names = {name: name for name, _ in ours.named_parameters()}
    x = 3 + 2 * torch.randn(2, 5, 8)

    assert_agree(ours, theirs, [x], dtype, lambda: gradients(ours, theirs, names))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernels", KERNELS)
def test_rms_norm_equals_transformers(kernels, dtype):
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    ours, theirs = RMSNorm(8, 1e-6, kernels).to(dtype), llama.LlamaRMSNorm(8, 1e-6).to(dtype)
    copied(theirs, [(ours.weight, theirs.weight)], std=1)

    # A head of queries is a view across memory, as it is for QK-norm.
    x = torch.randn(2, 5, 3, 8).transpose(1, 2)
    assert_agree(ours, theirs, [x], dtype, lambda: gradients(ours, theirs, {"weight": "weight"}))


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm])
def test_one_vector_alone_is_normed_as_in_a_batch(norm, kernels):
    norm, x = learned(norm(8, kernels=kernels)), torch.randn(8)
    (alone,) = torch.autograd.grad(norm(x).square().sum(), norm.weight)
    (in_batch,) = torch.autograd.grad(norm(x[None]).square().sum(), norm.weight)

    torch.testing.assert_close(norm(x), norm(x[None])[0])
    torch.testing.assert_close(alone, in_batch)


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
