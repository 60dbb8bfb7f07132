"""Feed-forwards against transformers', and the rule for their width."""

import pytest
import torch

from groundup.layers.feed_forward import MLP, SwiGLU, hidden_size


@pytest.mark.parametrize(
    ("d_model", "multiple_of", "multiplier", "d_ff"),
    [
        (1024, 64, None, 2752),
        (4096, 256, None, 11008),
        (5120, 256, None, 13824),
        (8192, 4096, 1.3, 28672),
        (4096, 1024, 1.3, 14336),
        (16384, 4096, 1.2, 53248),
        (2048, 256, 1.5, 8192),
        (3072, 256, 1.0, 8192),
    ],
)
def test_hidden_size_of_published_models(d_model, multiple_of, multiplier, d_ff):
    assert hidden_size(d_model, multiple_of, multiplier) == d_ff


@pytest.mark.parametrize("kernels", ["fused", "textbook"])
def test_swiglu_equals_transformers(kernels):
    transformers = pytest.importorskip("transformers")
    from transformers.models.llama.modeling_llama import LlamaMLP

    theirs = LlamaMLP(transformers.LlamaConfig(hidden_size=12, intermediate_size=20, num_attention_heads=2))
    ours = SwiGLU(12, 20, kernels=kernels)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 12)

    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("kernels", ["fused", "textbook"])
def test_mlp_equals_transformers(kernels):
    transformers = pytest.importorskip("transformers")
    from transformers.models.gpt2.modeling_gpt2 import GPT2MLP

    theirs = GPT2MLP(20, transformers.GPT2Config(n_embd=12, n_head=2, resid_pdrop=0.0))
    ours = MLP(12, 20, kernels=kernels)
    with torch.no_grad():
        for mine, other in ((ours.up_proj, theirs.c_fc), (ours.down_proj, theirs.c_proj)):
            mine.weight.copy_(other.weight.T)
            mine.bias.copy_(other.bias.normal_())
    x = torch.randn(2, 3, 12)

    torch.testing.assert_close(ours(x), theirs(x), atol=1e-6, rtol=1e-5)
