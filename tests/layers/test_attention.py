"""Attention against torch's SDPA and nn.MultiheadAttention, and both kernels against each other."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from groundup.layers.attention import Attention, attention, causal_mask, is_best_by_products, repeat_heads
from groundup.layers.cache import KVCache
from groundup.layers.rope import RoPE

KERNELS = ["fused", "textbook"]


def qkv(*leading, T=6, S=6, head_dim=8):
    return [torch.randn(*leading, n, head_dim, requires_grad=True) for n in (T, S, S)]


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("leading", [(2, 3), (3,), (), (2, 2, 3)])
def test_causal_equals_torch(kernels, leading):
    q, k, v = qkv(*leading)

    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(attention(q, k, v, is_causal=True, kernels=kernels), expected, atol=1e-6, rtol=0)
    masked = attention(q, k, v, causal_mask(6, 6), kernels=kernels)
    torch.testing.assert_close(masked, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kernels", KERNELS)
def test_without_a_mask_every_position_is_seen(kernels):
    q, k, v = qkv(2, 3, T=4, S=7)
    expected = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(8), -1) @ v

    torch.testing.assert_close(attention(q, k, v, kernels=kernels), expected, atol=1e-6, rtol=0)


def test_kernels_agree_in_outputs_and_gradients():
    masks = {
        "none": (None, False),
        "causal": (None, True),
        "any": (torch.rand(2, 1, 5, 5) < 0.6, False),
        "per head": (torch.rand(2, 4, 5, 5) < 0.6, False),
        "keys": (torch.rand(2, 1, 1, 5) < 0.6, False),
    }
    for n_kv_heads in (4, 2, 1):
        inputs = [torch.randn(2, n, 5, 8, requires_grad=True) for n in (4, n_kv_heads, n_kv_heads)]
        for name, (mask, is_causal) in masks.items():
            results = []
            for kernels in KERNELS:
                y = attention(*inputs, mask, is_causal, kernels=kernels)
                results.append([y, *torch.autograd.grad(y.square().sum(), inputs)])
            for one, other in zip(*results, strict=True):
                torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("n_kv_heads", [4, 2])
@pytest.mark.parametrize("is_causal", [True, False])
def test_training_in_bf16_equals_fp32_up_to_rounding(is_causal, n_kv_heads):
    exact = [torch.randn(2, n, 16, 8, requires_grad=True) for n in (4, n_kv_heads, n_kv_heads)]
    rounded = [x.detach().bfloat16().requires_grad_() for x in exact]
    mask = None if is_causal else (torch.rand(2, 1, 16, 16) < 0.5) | torch.eye(16, dtype=torch.bool)
    assert is_best_by_products(rounded[0], rounded[1], mask, dropout=0.0)

    results = []
    for inputs in (rounded, exact):
        y = attention(*inputs, mask, is_causal)
        results.append([y, *torch.autograd.grad(y.float().square().sum(), inputs)])
    for one, other in zip(*results, strict=True):
        assert (one - other).norm() < 0.02 * other.norm()


def test_in_bf16_a_query_that_sees_nothing_gets_zeros():
    q, k, v = (torch.randn(1, 1, 3, 8).bfloat16().requires_grad_() for _ in range(3))
    mask = torch.tensor([[False] * 3, [True] * 3, [True] * 3])

    assert attention(q, k, v, mask)[..., 0, :].abs().max() == 0


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_query_that_sees_nothing_gets_zeros_and_harms_nobody(kernels):
    q, k, v = qkv(1, 1, T=2, S=3)
    mask = torch.tensor([[False, False, False], [True, True, False]])
    y = attention(q, k, v, mask, kernels=kernels)
    gradients = torch.autograd.grad(y.sum(), (q, k, v))

    assert y[..., 0, :].abs().max() == 0
    assert y[..., 1, :].abs().min() > 0
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("kernels", KERNELS)
def test_causal_queries_are_the_last_of_the_positions(kernels):
    q, k, v = qkv(1, 2, T=6, S=6)
    full = attention(q, k, v, is_causal=True, kernels=kernels)

    for T in (1, 2, 5):
        last = attention(q[..., -T:, :], k, v, is_causal=True, kernels=kernels)
        torch.testing.assert_close(last, full[..., -T:, :], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kernels", KERNELS)
def test_repeated_heads_equal_the_grouped_form(kernels):
    """Grouped-query attention as one einsum over (group of 3, key-value head): no head is copied."""
    q, k, v = torch.randn(2, 6, 5, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    scores = torch.einsum("bkgtd,bksd->bkgts", q.unflatten(1, (2, 3)), k) / math.sqrt(8)
    probs = scores.masked_fill(~causal_mask(5, 5), -math.inf).softmax(-1)
    grouped = torch.einsum("bkgts,bksd->bkgtd", probs, v).flatten(1, 2)

    repeated = attention(q, repeat_heads(k, 3), repeat_heads(v, 3), is_causal=True, kernels=kernels)
    torch.testing.assert_close(repeated, grouped, atol=1e-6, rtol=0)
    torch.testing.assert_close(attention(q, k, v, is_causal=True, kernels=kernels), grouped, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kernels", KERNELS)
def test_scores_of_any_size(kernels):
    q, k, v = (1000 * torch.randn(1, 4, 8), 1000 * torch.randn(1, 4, 8), torch.randn(1, 4, 8))

    assert attention(q, k, v, is_causal=True, kernels=kernels).isfinite().all()


@pytest.mark.parametrize("kernels", KERNELS)
def test_layer_equals_torch_multihead_attention(kernels):
    ours = Attention(24, 4, bias=True, kernels=kernels)
    theirs = nn.MultiheadAttention(24, 4, batch_first=True)
    with torch.no_grad():
        projections = (ours.q_proj, ours.k_proj, ours.v_proj)
        theirs.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        theirs.in_proj_bias.copy_(torch.cat([p.bias.normal_() for p in projections]))
        theirs.out_proj.weight.copy_(ours.o_proj.weight)
        theirs.out_proj.bias.copy_(ours.o_proj.bias.normal_())
    x = torch.randn(2, 7, 24)
    expected, _ = theirs(x, x, x, attn_mask=~causal_mask(7, 7), need_weights=False)

    torch.testing.assert_close(ours(x), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours(x[0]), expected[0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours(x, causal_mask(7, 7)), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_later_position_never_changes_an_earlier_one(kernels):
    layer, x = Attention(16, 4, n_kv_heads=2, kernels=kernels), torch.randn(1, 8, 16)
    before = layer(x)
    x[:, 5] += 1
    after = layer(x)

    torch.testing.assert_close(after[:, :5], before[:, :5], atol=0, rtol=0)
    assert (after[:, 5:] - before[:, 5:]).abs().amax(-1).min() > 1e-4


@pytest.mark.parametrize("kernels", KERNELS)
def test_layer_with_rope_and_cache_equals_the_full_forward(kernels):
    layer = Attention(16, 4, n_kv_heads=2, head_dim=6, kernels=kernels)
    rope, x = RoPE(6), torch.randn(2, 9, 16)
    full = layer(x, rotation=rope.rotation(torch.arange(9)))

    cache = KVCache(1, 2, 2, 6, max_length=9)
    parts = [
        layer(x[:, start:end], rotation=rope.rotation(torch.arange(start, end)), cache=cache)
        for start, end in ((0, 4), (4, 7), (7, 8), (8, 9))
    ]
    torch.testing.assert_close(torch.cat(parts, dim=1), full, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kernels", KERNELS)
def test_dropout_acts_in_training_only_and_keeps_the_mean(kernels):
    layer, x = Attention(8, 2, dropout=0.5, kernels=kernels), torch.randn(1, 4, 8)
    layer.eval()
    quiet = layer(x)
    assert torch.equal(layer(x), quiet)

    layer.train()
    torch.manual_seed(0)
    many = layer(x.expand(20_000, 4, 8))
    assert (many[0] - many[1]).abs().max() > 0
    torch.testing.assert_close(many.mean(0), quiet[0], atol=0.06, rtol=0)


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="n_kv_heads is 3; it must divide n_heads, which is 4"):
        Attention(16, 4, n_kv_heads=3)
