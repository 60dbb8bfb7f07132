"""A model between formats: built only from what fits, and of its own memory unless shared."""

import dataclasses

import pytest
import torch

from groundup import models
from groundup.errors import ArtefactError
from groundup.models import llama
from groundup.weights import lazy, portable

CONFIG = llama.Config(vocab_size=20, context_length=8, n_layers=2, d_model=12, n_heads=3, tie_embeddings=False)


@pytest.fixture
def model():
    return llama.Model(CONFIG)


def test_built_again_it_is_the_same(model):
    source = portable.of(model)
    again = portable.build(source)
    ids = torch.randint(20, (2, 8))

    assert (source.family, source.n_parameters) == ("llama", llama.count_parameters(CONFIG))
    assert torch.equal(again(ids), model(ids))
    with torch.no_grad():
        again.tok_embed.weight.zero_()
    assert model.tok_embed.weight.abs().sum() > 0


def test_shared_it_is_the_same_memory(model):
    again = portable.build(portable.of(model), share=True)
    assert again.lm_head.weight.data_ptr() == model.lm_head.weight.data_ptr()
    assert all(parameter.requires_grad for parameter in again.parameters())


def test_every_difference_is_listed_before_memory_is_taken(model, monkeypatch):
    source = portable.of(model)
    tensors = dict(source.tensors)
    del tensors["final_norm.weight"]
    tensors["blocks.0.attn.q_proj.weight"] = lazy.of(torch.ones(12, 11))
    tensors["blocks.0.attn.q_proj.bias"] = lazy.of(torch.ones(12))
    with pytest.raises(ArtefactError) as caught:
        portable.build(dataclasses.replace(source, tensors=tensors, where="somewhere"))

    lines = caught.value.what.splitlines()[1:]
    assert len(lines) == 3 and caught.value.where == "somewhere"
    assert any("final_norm.weight is missing" in line for line in lines)
    assert any("q_proj.weight has shape (12, 11), not (12, 12)" in line for line in lines)
    assert any("q_proj.bias is unknown" in line for line in lines)


def test_an_outline_of_any_size_takes_no_memory():
    outline = portable.outline("llama", models.preset("llama", "llama3.1-405b"))
    assert {parameter.device.type for parameter in outline.parameters()} == {"meta"}
    assert sum(parameter.numel() for parameter in outline.parameters()) == 405_853_388_800


def test_weights_go_into_a_model_that_is_there(model):
    other = llama.Model(CONFIG).bfloat16()
    portable.fill(other, portable.of(model).tensors)
    assert torch.equal(other.tok_embed.weight, model.tok_embed.weight.bfloat16())
    with pytest.raises(ArtefactError, match="final_norm.weight is missing"):
        portable.fill(other, {})


def test_what_fits_in_memory_is_asked_of_the_machine(model, monkeypatch):
    source = portable.of(model)
    assert portable.fits_in_memory(source)
    memory = type("Memory", (), {"available": 4 * source.n_parameters})
    monkeypatch.setattr(portable.psutil, "virtual_memory", lambda: memory)
    assert not portable.fits_in_memory(source)
