"""What the compiled engine reads of a model, against the Config of its family."""

import dataclasses

import numpy as np
import pytest

from groundup import models
from groundup.inference.compiled import shape as shapes
from groundup.inference.compiled.shape import NotCompiled
from groundup.layers.rope import RopeConfig, attention_factor, inverse_frequencies
from groundup.weights import gguf_config, hf_config
from tests.models.tiny import config

ROPES = {
    "none": RopeConfig(theta=500.0),
    "linear": RopeConfig(scaling="linear", factor=3.0),
    "llama3": RopeConfig(theta=500_000.0, scaling="llama3", factor=8.0, trained_context=16),
    "yarn": RopeConfig(theta=500.0, scaling="yarn", factor=4.0, trained_context=8),
    "yarn-deepseek": RopeConfig(
        scaling="yarn", factor=40.0, trained_context=4096, mscale=0.7, mscale_all_dim=1.0, truncate=False
    ),
    "yarn-own": RopeConfig(
        scaling="yarn", factor=2.0, trained_context=100, beta_fast=20.0, beta_slow=2.0, attention_factor=1.3
    ),
}
IN_GGUF = ("none", "linear", "llama3")


@pytest.mark.parametrize("family", shapes.FAMILIES)
@pytest.mark.parametrize("scaling", ROPES)
def test_it_is_the_config_of_the_family(family, scaling):
    ours = config(family, **({} if family == "gpt2" else {"rope": ROPES[scaling]}))
    found = shapes.from_config(hf_config.write(ours))
    names = ("vocab_size", "context_length", "n_layers", "d_model", "n_heads", "d_ff", "norm_eps", "tie_embeddings")
    assert {name: getattr(found, name) for name in names} == {name: getattr(ours, name) for name in names}
    assert found.n_kv_heads == getattr(ours, "n_kv_heads", ours.n_heads)
    if family != "gpt2":
        wanted = inverse_frequencies(ours.head_dim, ours.rope)
        np.testing.assert_allclose(found.frequencies, wanted, rtol=3e-7)
        assert found.attention_factor == pytest.approx(attention_factor(ours.rope), rel=1e-12)


@pytest.mark.parametrize("family", shapes.FAMILIES)
@pytest.mark.parametrize("scaling", IN_GGUF)
def test_a_gguf_says_the_same(family, scaling):
    if scaling == "llama3" and family != "llama":
        return  # llama.cpp computes that in a Llama only
    ours = config(family, **({} if family == "gpt2" else {"rope": ROPES[scaling]}))
    metadata, factors = gguf_config.to_metadata(ours)
    metadata["general.architecture"] = family
    found = shapes.from_metadata(metadata, ours.vocab_size, ours.tie_embeddings, factors)
    said = shapes.from_config(hf_config.write(ours))
    np.testing.assert_allclose(found.frequencies, said.frequencies, rtol=1e-6)
    fields = {field.name for field in dataclasses.fields(found)} - {"frequencies"}
    assert {name: getattr(found, name) for name in fields} == {name: getattr(said, name) for name in fields}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "groundup-fast"}, "knows gpt2, llama, qwen2, qwen3, and not groundup-fast"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"rope_parameters": {"rope_type": "longrope", "factor": 4.0}}, "rope_type is 'longrope'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "not complete: 'factor'"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 0.5}}, "out of their range"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "beta": 1}}, "yarn has the setting beta"),
        ({"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"type": "linear", "factor": 2}}, "not say the"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"rms_norm_eps": None, "intermediate_size": None, "hidden_size": None}, "not complete"),
        ({"something_new": 3}, "something_new"),
    ],
)
def test_what_it_does_not_know_is_for_the_torch_engine(change, reason):
    content = {k: v for k, v in (hf_config.write(config("llama")) | change).items() if v is not None or k not in change}
    with pytest.raises(NotCompiled, match=reason):
        shapes.from_config(content)


def test_every_preset_is_read_or_refused():
    for family in models.names():
        for name, preset in models.family(family).PRESETS.items():
            content = hf_config.write(preset)
            try:
                found = shapes.from_config(content)
            except NotCompiled:
                assert family not in shapes.FAMILIES, name
            else:
                assert found.n_layers == preset.n_layers
