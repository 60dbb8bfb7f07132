"""config.json in both versions of transformers, and what of it is refused."""

import dataclasses

import pytest

from groundup import models
from groundup.errors import ArtefactError
from groundup.layers.rope import RopeConfig
from groundup.models import fast, gpt2, llama
from groundup.weights import hf_config

GPT2 = gpt2.Config(vocab_size=20, context_length=8, n_layers=2, d_model=12, n_heads=2)
LLAMA = llama.Config(vocab_size=20, n_layers=2, d_model=12, n_heads=6, n_kv_heads=2, rope=RopeConfig(theta=500_000.0))
FAST = fast.PRESETS["nano"]
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
    content = hf_config.write(LLAMA) | {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}
    assert hf_config.read(content)[1].rope.trained_context == LLAMA.context_length


PUBLISHED = {
    "llama3.1-8b": ("llama", {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 128000, "eos_token_id": 128001, "hidden_act": "silu", "hidden_size": 4096,
        "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 131072, "mlp_bias": False,
        "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
        "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": {
            "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "transformers_version": "4.43.0.dev0", "use_cache": True, "vocab_size": 128256,
    }),
    "llama3.2-1b": ("llama", {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu",
        "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 8192, "max_position_embeddings": 131072,
        "mlp_bias": False, "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 16,
        "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": {
            "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "transformers_version": "4.45.0.dev0", "use_cache": True, "vocab_size": 128256,
    }),
    "0.5b": ("qwen2", {
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
        "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 896, "initializer_range": 0.02,
        "intermediate_size": 4864, "max_position_embeddings": 32768, "max_window_layers": 24, "model_type": "qwen2",
        "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "transformers_version": "4.40.1", "use_cache": True, "use_mrope": False, "use_sliding_window": False,
        "vocab_size": 151936,
    }),
    "0.6b": ("qwen3", {
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024,
        "initializer_range": 0.02, "intermediate_size": 3072, "max_position_embeddings": 40960,
        "max_window_layers": 28, "model_type": "qwen3", "num_attention_heads": 16, "num_hidden_layers": 28,
        "num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000,
        "sliding_window": None, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "transformers_version": "4.51.0", "use_cache": True, "use_sliding_window": False, "vocab_size": 151936,
    }),
    "8x7b": ("mixtral", {
        "architectures": ["MixtralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
        "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
        "max_position_embeddings": 32768, "model_type": "mixtral", "num_attention_heads": 32,
        "num_experts_per_tok": 2, "num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 8,
        "output_router_logits": False, "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "router_aux_loss_coef": 0.02,
        "sliding_window": None, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "transformers_version": "4.36.0.dev0", "use_cache": True, "vocab_size": 32000,
    }),
    "355m": ("gpt2", {
        "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
        "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 1024, "n_embd": 1024, "n_head": 16, "n_layer": 24,
        "n_positions": 1024, "n_special": 0, "predict_special_tokens": True, "resid_pdrop": 0.1,
        "summary_activation": None, "summary_first_dropout": 0.1, "summary_proj_to_labels": True,
        "summary_type": "cls_index", "summary_use_proj": True, "vocab_size": 50257,
    }),
    "smollm2-135m": ("llama", {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 0,
        "eos_token_id": 0, "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664,
        "intermediate_size": 1536, "is_llama_config": True, "max_position_embeddings": 8192, "model_type": "llama",
        "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3, "pretraining_tp": 1,
        "rms_norm_eps": 1e-05, "rope_interleaved": False, "rope_scaling": None, "rope_theta": 100000,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16", "transformers_version": "4.40.1", "use_cache": True,
        "vocab_size": 49152,
    }),
    "124m": ("gpt2", {
        "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
        "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12,
        "n_positions": 1024, "resid_pdrop": 0.1, "summary_activation": None, "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True, "summary_type": "cls_index", "summary_use_proj": True,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}}, "vocab_size": 50257,
    }),
}  # fmt: skip


@pytest.mark.parametrize("size", PUBLISHED)
def test_what_version_4_published_is_the_preset_of_its_name(size):
    family, content = PUBLISHED[size]
    assert hf_config.read(content) == (family, models.preset(family, size))


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
        (LLAMA, {"use_mrope": True}, "use_mrope is True"),
        # As Qwen's instructions for long texts have it, put into a folder that version 5 wrote.
        (LLAMA, {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_parameters and rope_scaling do not say"),
        (LLAMA, {"rope_theta": 1e6}, "rope_theta is both 500000.0 and 1000000.0"),
        (LLAMA, {"rope_theta": 0, "rope_parameters": None}, "rope.theta is 0.0; valid values are above 1"),
        (LLAMA, {"hidden_size": 10**30}, "hidden_size is too large a number"),
        (LLAMA, {"rms_norm_eps": 10**400}, "rms_norm_eps is too large a number"),
        (
            LLAMA,
            {"rope_parameters": {"rope_type": "llama3", "original_max_position_embeddings": 10**400}},
            "original_max_position_embeddings is too large",
        ),
        (FAST, {"vocab_size": 5}, "vocab_size is 5"),
        (FAST, {"softcap": 0.0}, "not known here.*softcap = 0.0"),
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
    table = {"rope_parameters": {"rope_type": "default", "finetuned": True}}
    content = hf_config.write(LLAMA) | table | {"invented": "x" * 99}
    assert hf_config.read(content, None, skipped) == ("llama", LLAMA)
    assert skipped == [
        "config.json: finetuned = True",
        "config.json: invented = 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ]
