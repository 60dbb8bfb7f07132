"""Every layer against its snapshot: output, and gradient by its first input, in both kernels."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from groundup.layers.activations import ACTIVATIONS
from groundup.layers.attention import Attention, attention
from groundup.layers.cache import KVCache
from groundup.layers.embedding import Embedding
from groundup.layers.feed_forward import MLP, MixtureOfExperts, SwiGLU
from groundup.layers.linear import Linear
from groundup.layers.loss import IGNORE, cross_entropy, linear_cross_entropy
from groundup.layers.masks import causal_mask, document_mask
from groundup.layers.norms import LayerNorm, RMSNorm
from groundup.layers.rope import RoPE, RopeConfig
from groundup.layers.softmax import softmax
from tests.layers.agreement import KERNELS
from tests.snapshots import check, numbers, with_numbers

X = numbers(2, 5, 8)
IDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
TARGETS = torch.tensor([[1, IGNORE, 4, 0, 8], [IGNORE, 2, 2, 7, 3]])
# (B, n_heads, T, head_dim), and a mask of four dimensions: the second row begins with two empty positions.
Q, K, V = numbers(2, 4, 5, 6, seed=2), numbers(2, 2, 5, 6, seed=3), numbers(2, 2, 5, 6, seed=4)
PADDED = torch.ones(2, 1, 5, 5, dtype=torch.bool)
PADDED[1, ..., :2] = False
LLAMA3 = RopeConfig(theta=5e5, scaling="llama3", factor=8.0, trained_context=64)
CUTS = [slice(0, 3), slice(3, 4), slice(4, 5)]
YARN = RopeConfig(theta=5e5, scaling="yarn", factor=8.0, trained_context=64)


def attention_layer(kernels, **how) -> Callable[[Tensor], Tensor]:
    layer = with_numbers(Attention(8, 4, 2, head_dim=6, kernels=kernels, **how))
    rotation = RoPE(6).rotation(torch.arange(5))
    return lambda x: layer(x, rotation=rotation)


def cached_attention(kernels) -> Callable[[Tensor], Tensor]:
    layer, rope = with_numbers(Attention(8, 4, 2, window=3, kernels=kernels)), RoPE(2)

    def run(x):
        cache, positions = KVCache(1, 2, 2, 2, max_length=5), torch.arange(5)
        with torch.no_grad():
            parts = [layer(x[:, i], rotation=rope.rotation(positions[i]), cache=cache) for i in CUTS]
        return torch.cat(parts, dim=1)

    return run


LAYERS: dict[str, Callable[[str], tuple[Callable[..., Tensor], Tensor]]] = {
    "linear": lambda k: (with_numbers(Linear(8, 3)), X),
    "linear_bias": lambda k: (with_numbers(Linear(8, 3, bias=True)), X),
    "embedding": lambda k: (lambda scale: scale * with_numbers(Embedding(10, 4))(IDS), torch.ones(())),
    "layer_norm": lambda k: (with_numbers(LayerNorm(8, kernels=k)), X),
    "rms_norm": lambda k: (with_numbers(RMSNorm(8, kernels=k)), X),
    "softmax": lambda k: (softmax, X),
    **{name: lambda k, name=name: (lambda x: ACTIVATIONS[name](4 * x, k), X) for name in ACTIVATIONS},
    "mlp": lambda k: (with_numbers(MLP(8, 12, kernels=k)), X),
    "swiglu": lambda k: (with_numbers(SwiGLU(8, 12, kernels=k)), X),
    "mixture_of_experts": lambda k: (with_numbers(MixtureOfExperts(8, 12, 4, 2, k)), X),
    "rope": lambda k: (RoPE(8), X),
    "rope_interleaved": lambda k: (RoPE(8, interleaved=True), X),
    "rope_linear": lambda k: (RoPE(8, RopeConfig(scaling="linear", factor=4.0)), X),
    "rope_llama3": lambda k: (RoPE(8, LLAMA3), X),
    "rope_yarn": lambda k: (RoPE(8, YARN), X),
    "attention": lambda k: (lambda q: attention(q, K, V, is_causal=True, kernels=k), Q),
    "attention_mask": lambda k: (lambda q: attention(q, K, V, PADDED & causal_mask(5, 5), kernels=k), Q),
    "attention_documents": lambda k: (
        lambda q: attention(q, K, V, document_mask(torch.tensor([[0, 0, 1, 1, 1]])), kernels=k),
        Q,
    ),
    "attention_window": lambda k: (lambda q: attention(q, K, V, is_causal=True, window=2, kernels=k), Q),
    "attention_layer": lambda k: (attention_layer(k), X),
    "attention_layer_qk_norm": lambda k: (attention_layer(k, qk_norm_eps=1e-6), X),
    "attention_layer_bias": lambda k: (attention_layer(k, bias=True, out_bias=False), X),
    "attention_layer_interleaved": lambda k: (attention_layer(k, interleaved=True), X),
    "attention_layer_cached": lambda k: (cached_attention(k), X),
    "cross_entropy": lambda k: (lambda x: cross_entropy(4 * x, TARGETS, kernels=k)[0], numbers(2, 5, 9)),
    "cross_entropy_additions": lambda k: (
        lambda x: cross_entropy(4 * x, TARGETS, kernels=k, z_loss=0.1, softcap=3.0)[0],
        numbers(2, 5, 9),
    ),
    "linear_cross_entropy": lambda k: (
        lambda x: linear_cross_entropy(x, numbers(9, 8, seed=2), TARGETS, chunk_size=3, kernels=k)[0],
        X,
    ),
    "linear_cross_entropy_additions": lambda k: (
        lambda x: linear_cross_entropy(
            x, numbers(9, 8, seed=2), TARGETS, chunk_size=3, kernels=k, z_loss=0.1, softcap=3.0
        )[0],
        X,
    ),
}


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", LAYERS)
def test_layer(name, kernels, request):
    compute, x = LAYERS[name](kernels)
    x = x.clone().requires_grad_()
    found = {"output": compute(x)}
    if found["output"].requires_grad:
        pull = numbers(*found["output"].shape, seed=7)
        found["gradient"] = torch.autograd.grad((found["output"] * pull).sum(), x)[0]

    check(request, name, found)


def test_every_snapshot_is_asked_for(request):
    stored = {path.stem for path in (Path(request.path).parent / "snapshots").iterdir()}
    assert stored == set(LAYERS)


def test_a_change_is_noticed(request):
    compute, x = LAYERS["linear"]("fused")
    if not request.config.getoption("--update-snapshots"):
        with pytest.raises(AssertionError, match="linear: output"):
            check(request, "linear", {"output": compute(x) + 1e-3, "gradient": x})
