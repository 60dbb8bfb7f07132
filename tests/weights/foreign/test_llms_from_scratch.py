"""The GPT of LLMs-from-scratch: equal logits, with qkv_bias and without."""

import pytest
import torch

from groundup.errors import ArtefactError, UsageError
from groundup.weights import foreign
from tests.weights.foreign.conftest import IDS
from tests.weights.foreign.other_programs import book_gpt, book_gpt_logits


@pytest.mark.parametrize("qkv_bias", [False, True])
@pytest.mark.parametrize("with_optimizer", [False, True])
def test_equal_logits(qkv_bias, with_optimizer, tmp_path, assert_same_logits):
    state = book_gpt(qkv_bias=qkv_bias)
    content = {"model_state_dict": state, "optimizer_state_dict": {"state": {}, "param_groups": []}}
    torch.save(content if with_optimizer else state, tmp_path / "model.pth")
    read = foreign.read(tmp_path / "model.pth", fields={"n_heads": 3})

    assert read.family == "gpt2" and not read.config.tie_embeddings
    assert ("biases" in read.facts) != qkv_bias
    assert_same_logits(read, book_gpt_logits(state, IDS, 3))


def test_heads_by_gpt2s_widths(tmp_path):
    torch.save(book_gpt(d=768, n_layers=1), tmp_path / "model.pth")
    assert foreign.read(tmp_path / "model.pth").config.n_heads == 12

    torch.save(book_gpt(), tmp_path / "model.pth")
    with pytest.raises(UsageError, match="the width 12 is none of 768, 1024, 1280, 1600"):
        foreign.read(tmp_path / "model.pth")


def test_bit_for_bit(tmp_path):
    state = book_gpt()
    torch.save({name: tensor.half() for name, tensor in state.items()}, tmp_path / "model.pth")
    read = foreign.read(tmp_path / "model.pth", fields={"n_heads": 3})

    for ours, theirs in {
        "blocks.1.attn.k_proj.weight": "trf_blocks.1.att.W_key.weight",
        "blocks.0.mlp.up_proj.bias": "trf_blocks.0.ff.layers.0.bias",
        "blocks.0.mlp_norm.bias": "trf_blocks.0.norm2.shift",
        "final_norm.weight": "final_norm.scale",
        "lm_head.weight": "out_head.weight",
    }.items():
        assert read.tensors[ours].dtype == torch.float16
        assert torch.equal(read.tensors[ours].load(), state[theirs].half())
    assert not read.tensors["blocks.0.attn.v_proj.bias"].load().any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("pos_emb.weight"), "pos_emb.weight is missing"),
        (lambda s: s.pop("trf_blocks.1.norm1.shift"), "trf_blocks.1.norm1.shift is missing"),
        (
            lambda s: s.update({"trf_blocks.0.att.W_key.bias": torch.ones(12)}),
            "trf_blocks.1.att.W_query.bias is missing",
        ),
        (lambda s: s.update({"out_head.weight": torch.ones(2, 12)}), "the classifier of chapter 6"),
        (lambda s: s.update({"out_head.bias": torch.ones(20)}), "out_head.bias is unknown"),
        (lambda s: s.update({"trf_blocks.0.ff.fc1.weight": torch.ones(24, 12)}), "this is the book's Llama"),
        (lambda s: s.update({"trf_blocks.90000.norm1.scale": torch.ones(12)}), "describes 90001 layers"),
        (lambda s: s.update({"tok_emb.weight": torch.ones(20)}), "tok_emb.weight has shape .* should be a matrix"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change, message, tmp_path):
    state = book_gpt()
    change(state)
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(ArtefactError, match=message):
        foreign.read(tmp_path / "model.pth", fields={"n_heads": 3})
