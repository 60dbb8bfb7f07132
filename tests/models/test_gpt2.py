"""What only GPT-2 has: learned positions that end."""

import pytest
import torch

from groundup.models import gpt2

CONFIG = gpt2.Config(vocab_size=40, context_length=8, n_layers=2, d_model=12, n_heads=2)


def test_beyond_the_context_there_is_nothing():
    model = gpt2.Model(CONFIG)
    with pytest.raises(ValueError, match="9 positions were asked of a GPT-2 with a context_length of 8"):
        model(torch.zeros(1, 9, dtype=torch.long))

    cache = model.new_cache(1, 16)
    model(torch.zeros(1, 8, dtype=torch.long), cache=cache)
    with pytest.raises(ValueError, match="9 positions"):
        model(torch.zeros(1, 1, dtype=torch.long), cache=cache)


def test_positions_are_added_to_the_input():
    model = gpt2.Model(CONFIG).eval()
    ids = torch.full((1, 8), 7)

    assert (model(ids)[0, 0] - model(ids)[0, 1]).abs().max() > 1e-4
    with torch.no_grad():
        model.pos_embed.weight.zero_()
    torch.testing.assert_close(model(ids)[0, 0], model(ids)[0, 1])


def test_block_equals_transformers():
    transformers = pytest.importorskip("transformers")
    from transformers.models.gpt2.modeling_gpt2 import GPT2Block

    from groundup.weights import hf_config, huggingface, portable

    model = gpt2.Model(CONFIG).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    config, tensors = hf_config.write(CONFIG), huggingface.to_theirs(portable.of(model))
    theirs = GPT2Block(transformers.AutoConfig.for_model(**config, attn_implementation="sdpa"), 0).eval()
    prefix = "transformer.h.0."
    theirs.load_state_dict({k.removeprefix(prefix): v.load() for k, v in tensors.items() if k.startswith(prefix)})
    x = torch.randn(2, 5, 12)

    expected = theirs(x)
    expected = expected[0] if isinstance(expected, tuple) else expected  # transformers 4 returns a tuple
    torch.testing.assert_close(model.blocks[0](x), expected, atol=1e-5, rtol=1e-5)
