"""The anatomy of a model: its counts are those of the model itself, and its FLOPs those of PyTorch's counter."""

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from groundup import models
from groundup.insight import anatomy
from groundup.insight.anatomy_roles import ROLES
from groundup.layers.feed_forward import MixtureOfExperts
from groundup.layers.loss import linear_cross_entropy
from groundup.weights import portable

B, T = 2, 64


def config_of(name, **fields):
    family = models.family(name)
    known = {field.name for field in dataclasses.fields(family.Config)}
    shape = {"vocab_size": 50, "context_length": T, "n_layers": 3, "d_model": 96, "n_heads": 6, "dropout": 0.0}
    shape |= {"n_kv_heads": 2} if "n_kv_heads" in known else {}
    return family.Config(**shape | {key: value for key, value in fields.items() if key in known})


@pytest.fixture(params=models.names())
def name(request):
    return request.param


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def config(name, request):
    return config_of(name, tie_embeddings=request.param, ngram_rows=32)


def test_parameters_are_those_of_the_model(name, config):
    model = models.family(name).Model(config)
    root = anatomy.of(name, config)

    assert root.parameters == sum(parameter.numel() for parameter in model.parameters())
    by_section = root.parameters_by_section()
    assert sum(by_section.values()) == root.parameters
    assert by_section[anatomy.OTHER] == 0
    assert by_section[anatomy.HEAD] == (0 if config.tie_embeddings else 50 * 96)
    assert by_section[anatomy.EMBEDDING] == sum(p.numel() for n, p in model.named_parameters() if "embed" in n)
    assert by_section[anatomy.NORM] == sum(p.numel() for n, p in model.named_parameters() if "norm" in n)
    for part in root.parts:
        if part.parameters:
            module = model.get_submodule(part.name.partition(" ")[0])
            assert part.parameters == sum(parameter.numel() for parameter in module.parameters()), part.name


def test_flops_are_those_that_torch_counts(name, config):
    """The textbook form, all of whose products are of matrices; backward is twice forward."""
    model = models.family(name).Model(config, "textbook")
    for module in model.modules():
        if isinstance(module, MixtureOfExperts):
            module.is_fused = True  # the textbook form lets every expert compute
    ids = torch.randint(50, (B, T))
    with FlopCounterMode(display=False) as forward:
        logits = model(ids)
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()

    root = anatomy.take_apart(model)
    assert root.flops * B * T == forward.get_total_flops()
    assert 2 * root.flops * B * T == backward.get_total_flops()
    assert root.flops - 2 * root.matrix == 4 * config.n_layers * config.n_heads * config.head_dim * T


def test_what_is_kept_for_the_backward_pass_is_about_what_autograd_keeps(name):
    config = config_of(name)
    model = models.family(name).Model(config)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def note(tensor):
        pointer = tensor.untyped_storage().data_ptr()
        if pointer not in weights and tensor.is_floating_point():
            kept[pointer] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        hidden = model.hidden(torch.randint(50, (B, T)))
        linear_cross_entropy(hidden, model.lm_head_weight, torch.randint(50, (B, T)))
    n_bytes = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    head = 4 * 50 * 96  # the gradient of the head, which is counted with the logits
    assert anatomy.of(name, config).kept * 4 * B * T == pytest.approx(n_bytes - head, rel=0.15)


def test_the_cache_is_as_large_as_it_is(name):
    config = config_of(name)
    cache = models.family(name).Model(config).new_cache(1, 5)
    assert anatomy.cache_numbers(portable.outline(name, config)) * 5 == cache.keys.numel() + cache.values.numel()


def test_nothing_has_numbers_and_all_has_shapes(name):
    config = config_of(name, ngram_rows=32)
    model = portable.outline(name, config)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert {key: tuple(p.shape) for key, p in model.named_parameters()} == portable.shapes(name, config)


def test_every_part_says_what_it_does_and_where_it_is_written(name):
    root = anatomy.of(name, config_of(name, ngram_rows=32))
    for part in root.walk():
        assert 0 < len(part.role) <= 50, part.name
        file, _, line = part.where.partition(":")
        if line:
            text = (anatomy.PACKAGE / file).read_text().splitlines()
            assert f"class {part.kind}" in text[int(line) - 1], part.where
        else:
            assert part.where.startswith("torch.")
    assert {part.name.partition(" ")[0] for part in root.parts} <= set(ROLES)


def test_layers_that_are_alike_are_one_and_others_are_not():
    model = portable.outline("llama", config_of("llama"))
    model.blocks[1].attn.window = 8
    assert [part.name for part in anatomy.take_apart(model).parts if part.kind == "Block"] == [
        "blocks 0",
        "blocks 1",
        "blocks 2",
    ]
    model.blocks[2].attn.window = 8
    parts = [part for part in anatomy.take_apart(model).parts if part.kind == "Block"]
    assert [part.name for part in parts] == ["blocks 0", "blocks 1-2"]
    # Half as many positions are looked at, and as many weights are met.
    assert parts[1].flops - 2 * parts[1].matrix == 2 * (parts[0].flops - 2 * parts[0].matrix) * 8 // T


def test_of_experts_only_the_chosen_are_met():
    dense = anatomy.of("mixtral", config_of("mixtral", n_experts=4, n_active=4))
    sparse = anatomy.of("mixtral", config_of("mixtral", n_experts=4, n_active=1))
    experts = next(part for part in sparse.walk() if part.name == "experts 0-3")

    assert sparse.parameters == dense.parameters == dense.active
    assert dense.active - sparse.active == 3 * 3 * experts.parameters // 4  # in each of 3 layers, 3 of 4 are not met
    assert dense.matrix - sparse.matrix == dense.active - sparse.active
    assert experts.size == "1 of 4 × SwiGLU"


def test_every_preset_from_one_layer_is_the_same_as_from_all(name):
    for size, config in models.family(name).PRESETS.items():
        quick = anatomy.of_alike(name, config)
        assert quick.parameters == models.family(name).count_parameters(config), size
        if config.n_layers <= 12:
            assert quick == anatomy.of(name, config), size


def test_a_model_of_others_making_is_counted_too():
    class Odd(torch.nn.Module):
        """Something new. With more words."""

        def __init__(self):
            super().__init__()
            self.config = config_of("llama")
            self.mixer = torch.nn.Bilinear(3, 4, 5)

    root = anatomy.take_apart(Odd())
    [mixer] = root.parts
    assert (mixer.parameters, mixer.matrix, mixer.flops, mixer.where) == (65, 60, 120, "torch.nn.modules.linear")
    assert root.parameters_by_section()[anatomy.OTHER] == 65
    assert root.role == "Something new. With more words"
