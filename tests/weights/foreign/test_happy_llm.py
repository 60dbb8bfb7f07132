"""happy-llm's .pth: equal logits, and a name that must say what the tensors say."""

import pytest
import torch

from groundup.errors import ArtefactError, UsageError
from groundup.layers.rope import to_interleaved
from groundup.weights import foreign
from tests.weights.foreign.conftest import IDS
from tests.weights.foreign.other_programs import meta_llama, meta_llama_logits

SHAPE = {"vocab_size": 24, "d": 32, "n_layers": 2, "n_heads": 16, "n_kv_heads": 8, "d_ff": 40}
"""Tiny, with happy-llm's default heads."""


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("pretrain_32_2_24.pth", None),
        ("pretrain_32_2_24_step20000.pth", 20000),
        ("sft_dim32_layers2_vocab_size24.pth", None),
        ("sft_dim32_layers2_vocab_size24_step300000.pth", 300000),
        ("my own name.pth", None),
    ],
)
def test_equal_logits_under_each_name(name, step, tmp_path, assert_same_logits):
    state = meta_llama(**SHAPE)
    torch.save(state, tmp_path / name)
    read = foreign.read(tmp_path / name)

    assert read.family == "llama"
    assert (read.config.n_heads, read.config.n_kv_heads, read.config.context_length) == (16, 8, 512)
    assert read.config.tie_embeddings and read.config.d_ff == 40
    assert read.facts.get("step") == step
    assert "happy-llm's default" in read.facts["heads"]
    assert_same_logits(read, meta_llama_logits(state, IDS, 16))


def test_other_heads_are_given(tmp_path, assert_same_logits):
    state = meta_llama(d=16, n_heads=4, n_kv_heads=2)
    torch.save(state, tmp_path / "x.pth")
    read = foreign.read(tmp_path / "x.pth", fields={"n_heads": 4, "context_length": 64})

    assert (read.config.n_heads, read.config.n_kv_heads, read.config.context_length) == (4, 2, 64)
    assert_same_logits(read, meta_llama_logits(state, IDS, 4))


def test_the_number_of_heads_changes_what_is_computed():
    state = meta_llama(**SHAPE)
    assert (meta_llama_logits(state, IDS, 16) - meta_llama_logits(state, IDS, 4)).abs().max() > 0.01


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
def test_compiled_or_trained_on_several_gpus(prefix, tmp_path):
    state = meta_llama(**SHAPE)
    torch.save({prefix + name: tensor.bfloat16() for name, tensor in state.items()}, tmp_path / "pretrain_32_2_24.pth")
    read = foreign.read(tmp_path / "pretrain_32_2_24.pth")

    query = read.tensors["blocks.1.attn.q_proj.weight"]
    assert query.dtype == torch.bfloat16
    assert torch.equal(to_interleaved(query.load(), 16), state["layers.1.attention.wq.weight"].bfloat16())
    assert torch.equal(
        read.tensors["blocks.1.attn.v_proj.weight"].load(), state["layers.1.attention.wv.weight"].bfloat16()
    )


def test_tables_of_old_versions_are_passed_over(tmp_path):
    state = meta_llama(**SHAPE, tied=False)
    state |= {"freqs_cos": torch.ones(512, 1), "freqs_sin": torch.ones(512, 1)}
    state |= {f"layers.{layer}.attention.mask": torch.ones(1, 1, 512, 512) for layer in range(2)}
    torch.save(state, tmp_path / "x.pth")
    assert not foreign.read(tmp_path / "x.pth").config.tie_embeddings


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pretrain_64_2_24.pth", "d_model is 64 in the name and 32 in the tensors"),
        ("pretrain_32_18_24.pth", "n_layers is 18 in the name and 2 in the tensors"),
        ("sft_dim32_layers2_vocab_size6144.pth", "vocab_size is 6144 in the name and 24 in the tensors"),
        ("sft_dim8_layers1_vocab_size6144_step5.pth", "d_model is 8 .*; n_layers is 1 .*; vocab_size is 6144"),
    ],
)
def test_a_name_that_says_something_else(name, message, tmp_path):
    torch.save(meta_llama(**SHAPE), tmp_path / name)
    with pytest.raises(ArtefactError, match=message):
        foreign.read(tmp_path / name)


@pytest.mark.parametrize(
    ("shape", "n_heads", "message"),
    [
        ({"n_heads": 4, "n_kv_heads": 2}, 0, None),  # 32 = 4 · 8 = 16 · 2 and 16 = 2 · 8 = 8 · 2: the default fits
        (
            {"n_heads": 8, "n_kv_heads": 8},
            0,
            "queries of 32 and keys of 32 numbers are not those of happy-llm's default",
        ),
        ({"n_heads": 8, "n_kv_heads": 2}, 0, "queries of 32 and keys of 8 numbers"),
        ({"n_heads": 16, "n_kv_heads": 8}, 5, "n_heads is 5; valid values divide the 32 numbers"),
        ({"n_heads": 16, "n_kv_heads": 8}, 64, "n_heads is 64; valid values divide"),
        ({"n_heads": 8, "n_kv_heads": 2}, 2, "n_heads is 2; valid values divide .* heads that also"),
    ],
)
def test_heads_that_do_not_fit(shape, n_heads, message, tmp_path):
    torch.save(meta_llama(**SHAPE | shape), tmp_path / "x.pth")
    options = {"n_heads": n_heads} if n_heads else {}
    if message is None:
        assert foreign.read(tmp_path / "x.pth", fields=options).config.n_heads == 16
        return
    with pytest.raises(UsageError, match=message):
        foreign.read(tmp_path / "x.pth", fields=options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("layers.1.ffn_norm.weight"), r"layers.1.ffn_norm.weight is missing, which has shape \(32,\)"),
        (lambda s: s.pop("tok_embeddings.weight"), "tok_embeddings.weight is missing"),
        (lambda s: s.pop("layers.0.attention.wk.weight"), "layers.0.attention.wk.weight is missing"),
        (lambda s: s.update({"lora.weight": torch.ones(2)}), r"lora.weight is unknown, and has shape \(2,\)"),
        (lambda s: s.update({"layers.999999.x": torch.ones(2)}), "describes 1000000 layers"),
        (lambda s: s.update({"layers.0.attention.wq.weight": torch.ones(32)}), "should be a matrix"),
        (
            lambda s: s.update({"layers.1.attention.wv.weight": torch.ones(16, 31)}),
            r"layers.1.attention.wv.weight has shape \(16, 31\), not \(16, 32\)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(change, message, tmp_path):
    state = meta_llama(**SHAPE)
    change(state)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(ArtefactError, match=message):
        foreign.read(tmp_path / "x.pth", "happy_llm")


def test_metas_own_files_are_not_taken_for_it(tmp_path):
    """The same names, and heads that would fit by chance."""
    torch.save(meta_llama(**SHAPE), tmp_path / "consolidated.00.pth")
    with pytest.raises(ArtefactError, match="Meta's own release"):
        foreign.read(tmp_path / "consolidated.00.pth")
