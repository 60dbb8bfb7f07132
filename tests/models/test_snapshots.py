"""Whole models against their snapshots: all logits, and those of an input that is cut short."""

import pytest
import torch

from groundup import models
from groundup.layers.rope import RopeConfig
from tests.snapshots import check, with_numbers

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2], [6, 5, 3, 5, 8, 9, 7]])
SHAPE = {"vocab_size": 11, "context_length": 8, "n_layers": 2, "d_model": 8, "n_heads": 2, "d_ff": 12}
LLAMA3 = RopeConfig(theta=5e5, scaling="llama3", factor=8.0, trained_context=4)
OTHERS = {
    "fast": {"ngram_rows": 7},
    "gpt2": {"dropout": 0.0},
    "llama": {"n_kv_heads": 1, "rope": LLAMA3},
    "mixtral": {"n_experts": 3, "n_active": 2, "window": 3},
    "qwen2": {"n_kv_heads": 1},
    "qwen3": {"n_kv_heads": 1, "head_dim": 6},
}


@pytest.mark.parametrize("kernels", ["fused", "textbook"])
@pytest.mark.parametrize("family", OTHERS)
def test_model(family, kernels, request):
    module = models.family(family)
    model = with_numbers(module.Model(module.Config(**SHAPE, **OTHERS[family]), kernels)).eval()
    logits = model(IDS)
    truncated = model(IDS[:, :4])

    torch.testing.assert_close(truncated, logits[:, :4], atol=1e-5, rtol=1e-5)
    check(request, family, {"logits": logits, "truncated": truncated})
