"""Names and layouts of llama.cpp's tensors, against the tables of the package gguf."""

import pytest
import torch

from groundup import models
from groundup.layers.rope import to_interleaved
from groundup.models import gpt2, llama, mixtral, qwen2, qwen3
from groundup.weights import gguf_names, lazy, portable

gguf = pytest.importorskip("gguf")

SHAPE = {"vocab_size": 40, "context_length": 16, "n_layers": 2, "d_model": 8, "n_heads": 4}
CONFIGS = {
    "gpt2": gpt2.Config(**SHAPE, tie_embeddings=False),
    "llama": llama.Config(**SHAPE, n_kv_heads=2, tie_embeddings=False),
    "qwen2": qwen2.Config(**SHAPE, n_kv_heads=2),
    "qwen3": qwen3.Config(**SHAPE, head_dim=6),
    "mixtral": mixtral.Config(**SHAPE, n_experts=3, tie_embeddings=False),
}


def rows(name):
    family, config = models.family(name), CONFIGS[name]
    return list(gguf_names.rows(family.GGUF_ARCHITECTURE, config, portable.shapes(name, config)))


def row(name, theirs):
    return next(row for row in rows(name) if row.theirs == theirs)


@pytest.mark.parametrize("name", CONFIGS)
def test_names_are_those_that_llama_cpp_gives_the_architecture(name):
    architecture = gguf.MODEL_ARCH[models.family(name).GGUF_ARCHITECTURE.upper()]
    known = {gguf.TENSOR_NAMES[tensor] for tensor in gguf.MODEL_TENSORS[architecture]}
    known = {each.format(bid=layer) for each in known for layer in range(2)}
    assert {row.theirs.rpartition(".")[0] for row in rows(name)} <= known


@pytest.mark.parametrize("name", CONFIGS)
def test_hugging_faces_names_mean_the_same(name):
    """llama.cpp's own table of what a tensor of a Hugging Face folder is called."""
    family, config = models.family(name), CONFIGS[name]
    theirs = gguf.get_tensor_name_map(gguf.MODEL_ARCH[family.GGUF_ARCHITECTURE.upper()], 2)
    ours_by_theirs = {row.theirs.rpartition(".")[0]: row.ours[0].rpartition(".")[0] for row in rows(name)}
    for hf_module, our_modules in family.HF_MODULES.items():
        if hf_module.count("{}") > 1:
            continue  # single experts, which llama.cpp's converter stacks first
        found = theirs.get_name(hf_module.format(1))
        if our_modules.split()[0].format(1) + ".weight" in portable.shapes(name, config):
            assert ours_by_theirs[found] == our_modules.split()[0].format(1)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_has_one_place(name):
    ours = [each for row in rows(name) for each in row.ours]
    assert sorted(ours) == sorted(portable.shapes(name, CONFIGS[name]))


def test_layouts():
    fused, shapes = row("gpt2", "blk.1.attn_qkv.weight"), portable.shapes("gpt2", CONFIGS["gpt2"])
    assert fused.ours == tuple(f"blocks.1.attn.{part}_proj.weight" for part in "qkv")
    assert fused.shape(shapes) == (24, 8)
    stack, shapes = row("mixtral", "blk.0.ffn_down_exps.weight"), portable.shapes("mixtral", CONFIGS["mixtral"])
    assert stack.ours == tuple(f"blocks.0.mlp.experts.{i}.down_proj.weight" for i in range(3))
    assert stack.shape(shapes) == (3, 8, CONFIGS["mixtral"].d_ff)


def test_only_queries_and_keys_of_llama_are_interleaved():
    assert row("llama", "blk.0.attn_q.weight").n_heads == 4
    assert row("llama", "blk.0.attn_k.weight").n_heads == 2
    assert row("llama", "blk.0.attn_v.weight").n_heads == 0
    assert row("mixtral", "blk.0.attn_k.weight").n_heads == 4
    assert {each.n_heads for name in ("gpt2", "qwen2", "qwen3") for each in rows(name)} == {0}

    weight = torch.arange(32.0).view(8, 4)
    (part,) = row("llama", "blk.0.attn_k.weight").parts({"blocks.0.attn.k_proj.weight": lazy.of(weight)})
    assert torch.equal(part.load(), to_interleaved(weight, 2))
    assert part.load()[:, 0].tolist() == [0.0, 8.0, 4.0, 12.0, 16.0, 24.0, 20.0, 28.0]


def test_what_stays_in_full_precision():
    always = {each.theirs for name in CONFIGS for each in rows(name) if each.is_always_f32}
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in always} == {
        "attn_norm", "ffn_norm", "output_norm", "attn_q_norm", "attn_k_norm", "position_embd", "ffn_gate_inp"
    }  # fmt: skip
