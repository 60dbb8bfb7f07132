"""Names, shapes and settings in Hugging Face's terms. Equal logits are shown for every model in tests/models."""

import copy

import pytest
import torch

from groundup.errors import ArtefactError
from groundup.models import gpt2, llama
from groundup.weights import huggingface

GPT2 = gpt2.Model(gpt2.Config(vocab_size=20, context_length=8, n_layers=2, d_model=12, n_heads=2))
LLAMA = llama.Model(
    llama.Config(
        vocab_size=20, n_layers=2, d_model=12, n_heads=6, n_kv_heads=2, tie_embeddings=False,
        rope=llama.RopeConfig(theta=500_000.0),
    )
)  # fmt: skip


def taken(model):
    config, tensors = huggingface.to_hf(model)
    return copy.deepcopy(config), dict(tensors)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("model", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_there_and_back(model):
    back = huggingface.from_hf(*taken(model))

    assert back.config == model.config
    assert same(back, model)


def test_gpt2_is_fused_and_transposed():
    _, tensors = taken(GPT2)
    attn = GPT2.blocks[1].attn

    fused = tensors["transformer.h.1.attn.c_attn.weight"]
    assert fused.shape == (12, 36)
    assert torch.equal(fused[:, 12:24], attn.k_proj.weight.T)
    assert tensors["transformer.h.1.attn.c_attn.bias"].shape == (36,)
    assert tensors["transformer.h.1.mlp.c_fc.weight"].shape == (12, 48)
    assert "lm_head.weight" not in tensors


def test_files_of_gpt2s_body_with_its_old_buffers_are_read():
    """As openai-community/gpt2 is stored: without "transformer.", with the causal mask, with or without the head."""
    config, tensors = taken(GPT2)
    body = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    for layer in range(2):
        body[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 8, 8).tril()
        body[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    assert same(huggingface.from_hf(config, body), GPT2)

    body["lm_head.weight"] = body["wte.weight"].clone()
    assert same(huggingface.from_hf(config, body), GPT2)


def test_old_and_new_ways_to_write_rope():
    config, tensors = taken(LLAMA)
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(1)
    for left_out in ("rope_theta", "rope_parameters"):
        one_way = {key: value for key, value in config.items() if key != left_out}
        assert huggingface.from_hf(one_way, tensors).config.rope.theta == 500_000.0
    neither = {key: value for key, value in config.items() if not key.startswith("rope")}
    assert huggingface.from_hf(neither, tensors).config.rope.theta == 10_000.0


def test_half_precision_becomes_fp32():
    config, tensors = taken(LLAMA)
    rounded = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    model = huggingface.from_hf(config, rounded)

    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.tok_embed.weight, LLAMA.tok_embed.weight.bfloat16().float())


def test_the_model_owns_its_memory():
    config, tensors = taken(LLAMA)
    model = huggingface.from_hf(config, tensors)
    with torch.no_grad():
        model.tok_embed.weight.add_(1)
    assert not torch.equal(tensors["model.embed_tokens.weight"], model.tok_embed.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.norm.weight"), "model.norm.weight is missing"),
        (lambda t: t.pop("lm_head.weight"), "lm_head.weight is missing"),
        (lambda t: t.update({"model.norm.bias": torch.ones(12)}), "model.norm.bias is unknown"),
        (
            lambda t: t.update({"model.norm.weight": torch.ones(13)}),
            r"model.norm.weight has shape \(13,\), not \(12,\)",
        ),
        (
            lambda t: t.update({"model.layers.0.mlp.up_proj.weight": torch.ones(12, 64)}),
            r"up_proj.weight has shape \(12, 64\), not \(64, 12\)",
        ),
    ],
)
def test_a_tensor_without_a_place_or_a_place_without_a_tensor(change, message):
    config, tensors = taken(LLAMA)
    change(tensors)
    with pytest.raises(ArtefactError, match=message):
        huggingface.from_hf(config, tensors, where="somewhere")


def test_all_faults_are_listed():
    config, tensors = taken(GPT2)
    for name in [name for name in tensors if "ln_" in name]:
        del tensors[name]
    with pytest.raises(ArtefactError, match=r"ln_1.weight is missing.*ln_2.bias is missing.*and 2 more"):
        huggingface.from_hf(config, tensors)


def test_a_tied_head_must_be_the_embedding():
    config, tensors = taken(GPT2)
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"] + 1
    with pytest.raises(
        ArtefactError, match=r"lm_head.weight is not transformer.wte.weight, to which config.json ties it"
    ):
        huggingface.from_hf(config, tensors)


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        (LLAMA, {"model_type": "mamba"}, "model_type is 'mamba', which is not supported"),
        (LLAMA, {"model_type": None}, "model_type is missing"),
        (LLAMA, {"hidden_size": None}, "hidden_size is missing"),
        (LLAMA, {"hidden_size": "12"}, "hidden_size is '12', and should be of the kind int"),
        (LLAMA, {"num_attention_heads": 5}, "describes no llama that can be built: n_heads is 5; valid values divide"),
        (LLAMA, {"num_hidden_layers": 10**12}, "describes 1000000000000 layers"),
        (LLAMA, {"hidden_size": 6 * 10**9}, "the file has 21 tensors"),
        (LLAMA, {"hidden_act": "gelu"}, "hidden_act is 'gelu' in config.json; only 'silu' can be computed"),
        (LLAMA, {"attention_bias": True}, "attention_bias is True"),
        (LLAMA, {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling is"),
        (LLAMA, {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope_type is 'yarn'"),
        (LLAMA, {"quantization_config": {"bits": 4}}, "quantization_config is"),
        (GPT2, {"activation_function": "relu"}, "only 'gelu_new' or 'gelu_pytorch_tanh' can be computed"),
        (GPT2, {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
    ],
)
def test_settings_that_cannot_be_computed_are_refused(model, change, message):
    config, tensors = taken(model)
    with pytest.raises(ArtefactError, match=message):
        huggingface.from_hf(config | change, tensors)
