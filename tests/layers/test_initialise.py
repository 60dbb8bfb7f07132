"""The starting weights: their spread by layer, and attention that starts near the identity."""

import math

import pytest
import torch

from groundup import models
from groundup.layers.attention import Attention
from groundup.layers.feed_forward import MLP, MixtureOfExperts, SwiGLU

SHAPE = {"vocab_size": 64, "context_length": 32, "n_layers": 3, "d_model": 64, "n_heads": 4, "d_ff": 128}


@pytest.mark.parametrize("family", ["gpt2", "llama", "mixtral", "qwen2", "qwen3"])
def test_spread_by_layer(family):
    model = models.build(family, "nano", SHAPE, seed=0)
    narrow = {name for name, _ in model.named_parameters() if name.endswith(("o_proj.weight", "down_proj.weight"))}
    assert {name.split(".")[1] for name in narrow} == {"0", "1", "2"}  # the same in every layer
    for name, weight in model.named_parameters():
        if weight.ndim == 2:
            expected = 0.02 / math.sqrt(2 * 3) if name in narrow else 0.02
            # A spread measured on n numbers is itself off by 1 / sqrt(2n).
            assert weight.std().item() == pytest.approx(expected, rel=5 / math.sqrt(2 * weight.numel())), name
            assert abs(weight.mean().item()) < 0.1 * expected + 1e-3
        else:
            assert set(weight.tolist()) == {0.0 if name.endswith("bias") else 1.0}, name


def test_the_residual_stream_keeps_its_size_with_depth():
    """What the narrow start is for: 2 · n_layers outputs add up to as much in 2 layers as in 32."""
    ids, added = torch.arange(32)[None], {}
    for n_layers in (2, 8, 32):
        model = models.build("llama", "nano", {**SHAPE, "n_layers": n_layers}, seed=0)
        before, after = model.tok_embed(ids), []
        model.final_norm.register_forward_pre_hook(lambda _, inputs, after=after: after.append(inputs[0]))
        model(ids)
        added[n_layers] = (after[0] - before).std().item()

    # With 0.02 everywhere, 32 layers add 10 times as much as 2 do.
    assert added[32] == pytest.approx(added[2], rel=0.3)
    assert added[8] == pytest.approx(added[2], rel=0.3)


LAYERS_ALONE = {
    "attention": lambda: Attention(64, 4, 2, bias=True, qk_norm_eps=1e-6),
    "swiglu": lambda: SwiGLU(64, 160),
    "mlp": lambda: MLP(64, 256),
    "mixture of experts": lambda: MixtureOfExperts(64, 96, 8, 2),
}


@pytest.mark.parametrize("name", LAYERS_ALONE)
def test_a_layer_alone_starts_each_matrix_by_its_own_shape(name):
    """sqrt(2 / (in + out)), as layers/linear.py says; norms at one and biases at zero."""
    for which, weight in LAYERS_ALONE[name]().named_parameters():
        if weight.ndim == 2:
            expected = 0.9866 * math.sqrt(2 / sum(weight.shape))
            assert weight.std().item() == pytest.approx(expected, rel=0.08), which
        else:
            assert set(weight.tolist()) == {0.0 if which.endswith("bias") else 1.0}, which


def test_a_seed_is_a_start():
    first, again, other = (models.build("llama", "nano", SHAPE, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.tok_embed.weight, other.tok_embed.weight)


@pytest.mark.parametrize("n_kv_heads", [4, 2])
def test_mimetic_attention_looks_for_its_like_and_passes_it_on(n_kv_heads):
    model = models.build("llama", "nano", {**SHAPE, "n_kv_heads": n_kv_heads}, seed=0, start="mimetic")
    for block in model.blocks:
        attn = block.attn
        n_groups = 4 // n_kv_heads
        keys = attn.k_proj.weight.unflatten(0, (n_kv_heads, -1)).repeat_interleave(n_groups, 0).flatten(0, 1)
        values = attn.v_proj.weight.unflatten(0, (n_kv_heads, -1)).repeat_interleave(n_groups, 0).flatten(0, 1)
        alike = attn.q_proj.weight.T @ keys
        passed_on = attn.o_proj.weight @ values
        for product in (alike, passed_on):
            diagonal = product.diagonal().mean()
            beside = (product - torch.diag(product.diagonal())).abs().mean()
            assert diagonal > 3 * beside


def test_an_unknown_start_is_refused():
    with pytest.raises(ValueError, match="normal, mimetic"):
        models.build("llama", "nano", SHAPE, seed=0, start="warm")
