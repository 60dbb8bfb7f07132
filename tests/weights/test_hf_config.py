"""config.json in both versions of transformers, and what of it is refused."""

import dataclasses

import pytest

from groundup import models
from groundup.errors import ArtefactError
from groundup.layers.rope import RopeConfig
from groundup.models import gpt2, llama
from groundup.weights import hf_config

GPT2 = gpt2.Config(vocab_size=20, context_length=8, n_layers=2, d_model=12, n_heads=2)
LLAMA = llama.Config(vocab_size=20, n_layers=2, d_model=12, n_heads=6, n_kv_heads=2, rope=RopeConfig(theta=500_000.0))
ROPES = [
    RopeConfig(theta=5e5),
    RopeConfig(scaling="linear", factor=2.0),
    RopeConfig(theta=5e5, scaling="llama3", factor=32.0, trained_context=8192, low_freq_factor=2.0),
    RopeConfig(scaling="yarn", factor=4.0, trained_context=512, beta_fast=16.0, truncate=False),
    RopeConfig(scaling="yarn", factor=4.0, trained_context=512, mscale=1.0, mscale_all_dim=0.7),
    RopeConfig(scaling="yarn", factor=4.0, trained_context=512, attention_factor=1.5),
]


@pytest.mark.parametrize("name", models.names())
def test_every_preset_there_and_back(name):
    for preset in models.family(name).PRESETS.values():
        assert hf_config.read(hf_config.write(preset)) == (name, preset)


@pytest.mark.parametrize("rope", ROPES)
def test_rope_as_version_4_and_as_version_5_write_it(rope):
    config = dataclasses.replace(LLAMA, rope=rope)
    both = hf_config.write(config)
    for left_out in (("rope_parameters",), ("rope_theta", "rope_scaling")):
        one_way = {key: value for key, value in both.items() if key not in left_out}
        assert hf_config.read(one_way) == ("llama", config)


@pytest.mark.parametrize("rope", ROPES)
def test_transformers_understands_rope_as_we_write_it(rope, tmp_path):
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    from groundup.layers.rope import attention_factor, inverse_frequencies

    config = dataclasses.replace(LLAMA, rope=rope, context_length=2048, head_dim=64)
    theirs = transformers.LlamaConfig.from_dict(hf_config.write(config))
    assert theirs.rope_parameters["rope_theta"] == rope.theta
    if rope.scaling != "none":
        frequencies, factor = ROPE_INIT_FUNCTIONS[rope.scaling](theirs, "cpu")
        assert (frequencies - inverse_frequencies(64, rope)).abs().max() <= 1e-7
        assert factor == pytest.approx(attention_factor(rope), rel=1e-12)


def test_an_old_file_without_rope_has_the_theta_of_llama_1():
    neither = {key: value for key, value in hf_config.write(LLAMA).items() if not key.startswith("rope")}
    assert hf_config.read(neither)[1].rope == RopeConfig()


def test_the_trained_context_may_be_left_out_of_yarn():
    table = {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4}
    content = hf_config.write(LLAMA) | {"rope_parameters": table}
    assert hf_config.read(content)[1].rope.trained_context == LLAMA.context_length


def test_smollm2s_published_settings_are_all_known():
    content = {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 0,
        "eos_token_id": 0, "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664,
        "intermediate_size": 1536, "is_llama_config": True, "max_position_embeddings": 8192, "model_type": "llama",
        "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3, "pretraining_tp": 1,
        "rms_norm_eps": 1e-05, "rope_interleaved": False, "rope_scaling": None, "rope_theta": 100000,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16", "transformers_version": "4.40.1", "use_cache": True,
        "vocab_size": 49152,
    }  # fmt: skip
    assert hf_config.read(content) == ("llama", llama.PRESETS["smollm2-135m"])


def test_gpt2s_published_settings_are_all_known():
    content = {
        "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
        "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12,
        "n_positions": 1024, "resid_pdrop": 0.1, "summary_activation": None, "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True, "summary_type": "cls_index", "summary_use_proj": True,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}}, "vocab_size": 50257,
    }  # fmt: skip
    assert hf_config.read(content) == ("gpt2", gpt2.PRESETS["124m"])


@pytest.mark.parametrize("name", ["GPT2", "Llama", "Qwen2", "Qwen3", "Mixtral"])
def test_all_that_transformers_writes_by_default_is_known(name):
    transformers = pytest.importorskip("transformers")
    content = getattr(transformers, f"{name}Config")().to_dict()
    assert hf_config.read(content)[0] == name.lower()


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (LLAMA, {"model_type": "mamba"}, "model_type is 'mamba', which is not supported"),
        (LLAMA, {"model_type": "fast"}, "model_type is 'fast', which is not supported"),
        (LLAMA, {"model_type": "groundup-none"}, "describes no none: model is 'none'"),
        (LLAMA, {"model_type": None}, "model_type is missing"),
        (LLAMA, {"hidden_size": None}, "hidden_size is missing"),
        (LLAMA, {"hidden_size": "12"}, "hidden_size is '12', and should be of the kind int"),
        (LLAMA, {"hidden_size": True}, "hidden_size is True, and should be of the kind int"),
        (LLAMA, {"rms_norm_eps": float("nan")}, "rms_norm_eps is nan"),
        (LLAMA, {"num_attention_heads": 0}, "describes no llama that can be built: n_heads is 0"),
        (LLAMA, {"num_attention_heads": 5}, "describes no llama that can be built: "),
        (LLAMA, {"hidden_act": "gelu"}, "hidden_act is 'gelu' in config.json; only 'silu' can be computed"),
        (LLAMA, {"attention_bias": True}, "attention_bias is True"),
        (LLAMA, {"rope_parameters": {"rope_type": "longrope"}}, "rope_type is 'longrope' in config.json; only"),
        (LLAMA, {"rope_parameters": {"rope_theta": float("nan")}}, "rope_theta is nan"),
        (LLAMA, {"rope_parameters": {"rope_type": "default", "mrope_section": [1]}}, "not known here.*mrope_section"),
        (LLAMA, {"rope_parameters": [1]}, "rope_parameters is .*kind dict"),
        (LLAMA, {"rope_interleaved": True}, "rope_interleaved is True"),
        (LLAMA, {"quantization_config": {"bits": 4}}, "quantization_config is"),
        (LLAMA, {"auto_map": {"AutoModel": "code.Model"}}, "not known here.*auto_map = "),
        (LLAMA, {"_attn_implementation_internal": "x/y"}, "not known here.*_attn_implementation_internal"),
        (GPT2, {"activation_function": "relu"}, "only 'gelu_new' or 'gelu_pytorch_tanh' or 'gelu' can"),
        (GPT2, {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
    ],
)
def test_settings_that_cannot_be_computed_are_refused(config, change, message):
    with pytest.raises(ArtefactError, match=message):
        hf_config.read(hf_config.write(config) | change)


def test_unknown_settings_can_be_skipped_and_are_listed():
    skipped = []
    assert hf_config.read(hf_config.write(LLAMA) | {"invented": "x" * 99}, None, skipped) == ("llama", LLAMA)
    assert skipped == ["config.json: invented = 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]
