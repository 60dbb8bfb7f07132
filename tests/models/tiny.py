"""Tiny models of every family, for the contract."""

import dataclasses
from typing import Any, NamedTuple

import torch

from groundup import models
from groundup.layers.initialise import initialise
from groundup.layers.rope import RopeConfig

VOCAB_SIZE = 50
SHAPE = {"vocab_size": VOCAB_SIZE, "context_length": 32, "n_layers": 2, "d_model": 24, "n_heads": 6, "n_kv_heads": 2}


class Case(NamedTuple):
    """A family with some of its own fields set."""

    family: str
    fields: dict[str, Any]

    def model(self, **fields: Any) -> Any:
        return small(self.family, **self.fields | fields)


YARN = RopeConfig(theta=500.0, scaling="yarn", factor=4.0, trained_context=8)
CASES = {name: Case(name, {}) for name in models.names()} | {
    "fast-with-ngrams": Case("fast", {"ngram_rows": 53}),
    "fast-with-longer-ngrams": Case("fast", {"ngram_rows": 53, "longest_ngram": 5}),
    "fast-with-window": Case("fast", {"window": 3}),
    "fast-without-cap": Case("fast", {"softcap": 0.0}),
    "llama-yarn": Case("llama", {"rope": YARN}),
    "mixtral-with-window": Case("mixtral", {"window": 4}),
    "qwen3-wide": Case("qwen3", {"head_dim": 10}),
    "lab-as-in-2017": Case("lab", {"norm": "layer", "activation": "gelu", "position": "learned", "norm_place": "post"}),
    "lab-no-positions": Case("lab", {"attention": "mqa", "position": "none", "activation": "relu_squared"}),
}


def config(family: str, **fields: Any) -> Any:
    """The tiny Config of a family, as far as it has these fields."""
    cls = models.family(family).Config
    names = {field.name for field in dataclasses.fields(cls)}
    # Few experts, so that each gets something to do.
    few = {"n_experts": 4} if "n_experts" in names else {}
    shape = {name: value for name, value in SHAPE.items() if name in names}
    return cls(**{"dropout": 0.0} | shape | few | fields)


def small(family: str, *, kernels: str = "fused", noise: float = 0.3, **fields: Any) -> Any:
    """A model with weights large enough that attention is far from uniform and every mistake shows."""
    model = models.family(family).Model(config(family, **fields), kernels)
    initialise(model, seed=1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=noise)
    return model.eval()
