"""The starting weights: their spread by layer, and attention that starts near the identity."""

import math

import pytest
import torch

from groundup import models

SHAPE = {"vocab_size": 64, "context_length": 32, "n_layers": 3, "d_model": 64, "n_heads": 4, "d_ff": 128}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_spread_by_layer(family):
    model = models.build(family, "nano", SHAPE, seed=0)
    for name, weight in model.named_parameters():
        if weight.ndim == 2:
            narrow = name.endswith(("o_proj.weight", "down_proj.weight"))
            expected = 0.02 / math.sqrt(2 * 3) if narrow else 0.02
            assert weight.std().item() == pytest.approx(expected, rel=0.1), name
            assert abs(weight.mean().item()) < 0.1 * expected + 1e-3


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
