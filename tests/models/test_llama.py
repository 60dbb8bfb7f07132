"""What only Llama has: a block like transformers', positions without an end."""

import dataclasses

import pytest
import torch

from groundup.layers.attention import causal_mask
from groundup.layers.rope import RoPE
from groundup.models import llama

CONFIG = llama.Config(vocab_size=40, context_length=8, n_layers=2, d_model=24, n_heads=6, n_kv_heads=2)


@pytest.mark.parametrize("kernels", ["fused", "textbook"])
def test_block_equals_transformers_decoder_layer(kernels):
    theirs = pytest.importorskip("transformers.models.llama.modeling_llama")
    config = theirs.LlamaConfig(
        hidden_size=24, num_attention_heads=6, num_key_value_heads=2, intermediate_size=64, rms_norm_eps=1e-5
    )
    config._attn_implementation = "eager"
    layer = theirs.LlamaDecoderLayer(config, 0).eval()
    block = llama.Block(CONFIG, 0, kernels).eval()
    assert block.mlp.up_proj.weight.shape == (64, 24)
    renamed = {
        name.replace("input_layernorm", "attn_norm")
        .replace("post_attention_layernorm", "mlp_norm")
        .replace("self_attn", "attn"): tensor
        for name, tensor in layer.state_dict().items()
    }
    block.load_state_dict(renamed)
    x, positions = torch.randn(2, 7, 24), torch.arange(7)[None]

    far = torch.zeros(1, 1, 7, 7).masked_fill(~causal_mask(7, 7), float("-inf"))
    expected = layer(x, attention_mask=far, position_embeddings=theirs.LlamaRotaryEmbedding(config)(x, positions))
    expected = expected[0] if isinstance(expected, tuple) else expected  # transformers 4 returns a tuple
    rotation = RoPE(4).rotation(positions[:, None])
    torch.testing.assert_close(block(x, rotation), expected, atol=1e-5, rtol=1e-5)


def test_beyond_the_context_it_goes_on_with_a_warning():
    model = llama.Model(CONFIG)
    ids = torch.randint(40, (1, 12))
    with pytest.warns(UserWarning, match="position 12 is beyond the context_length of 8"):
        logits = model(ids)

    assert logits.isfinite().all()
    torch.testing.assert_close(logits[:, :8], model(ids[:, :8]), atol=1e-5, rtol=1e-5)


def test_only_the_distance_of_positions_counts():
    model, ids = llama.Model(CONFIG), torch.randint(40, (1, 6))
    positions = torch.arange(6)[None]

    torch.testing.assert_close(model(ids, positions=positions + 1000), model(ids), atol=1e-4, rtol=1e-4)


def test_tied_or_not():
    tied, untied = llama.Model(CONFIG), llama.Model(dataclasses.replace(CONFIG, tie_embeddings=False))

    assert tied.lm_head_weight is tied.tok_embed.weight
    assert "lm_head.weight" not in tied.state_dict()
    assert untied.lm_head_weight is untied.lm_head.weight
