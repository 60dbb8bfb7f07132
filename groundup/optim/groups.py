"""Which parameter is updated by which rule: matrices, embeddings, and everything of one dimension."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from groundup.layers.kernels import Kernels
from groundup.optim.adamw import AdamW
from groundup.optim.muon import Muon
from groundup.optim.sgd import SGD, SGDDecay

EMBEDDINGS = (
    "tok_embed", "pos_embed", "bigram_embed", "trigram_embed", "fourgram_embed", "fivegram_embed", "lm_head",
    "class_head",
)  # fmt: skip
"""Modules whose matrices are tables, a row for each id or class: Muon is for those that map vectors to vectors."""


@dataclass(frozen=True)
class Rates:
    """What the rules below can be told.

    `lr` is AdamW's and SGD's learning rate, `matrix_lr` Muon's, for the matrices inside the blocks. The first of
    `betas` is SGD's momentum too; `momentum` is Muon's. `kernels` chooses the fused or the textbook form.
    """

    lr: float = 3e-3
    matrix_lr: float = 0.02
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    momentum: float = 0.95
    kernels: Kernels = "fused"

    @classmethod
    def of(cls, config: Any) -> "Rates":
        """Those of a TrainConfig."""
        return cls(
            lr=config.lr,
            matrix_lr=config.matrix_lr,
            weight_decay=config.weight_decay,
            betas=(config.beta1, config.beta2),
            momentum=config.momentum,
            kernels=config.kernels,
        )


def split(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """(matrices of the blocks, embeddings and heads, vectors), without what is frozen.

    Norms and biases are vectors and never decay.
    """
    matrices, embeddings, vectors = [], [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim < 2:
            vectors.append(parameter)
        elif any(part in EMBEDDINGS for part in name.split(".")):
            embeddings.append(parameter)
        else:
            matrices.append(parameter)
    return matrices, embeddings, vectors


def adamw(model: nn.Module, rates: Rates) -> list[torch.optim.Optimizer]:
    """AdamW for everything; weight decay for parameters of two dimensions only."""
    matrices, embeddings, vectors = split(model)
    groups = decayed(matrices + embeddings, vectors, rates)
    return ready(AdamW(groups, lr=rates.lr, betas=rates.betas, kernels=rates.kernels))


def muon(model: nn.Module, rates: Rates) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for embeddings, heads and vectors."""
    matrices, embeddings, vectors = split(model)
    rest = decayed(embeddings, vectors, rates)
    optimizers = []
    if matrices:
        optimizers.append(
            Muon(
                matrices,
                lr=rates.matrix_lr,
                momentum=rates.momentum,
                weight_decay=rates.weight_decay,
                kernels=rates.kernels,
            )
        )
    if rest:
        optimizers.append(AdamW(rest, lr=rates.lr, betas=rates.betas, kernels=rates.kernels))
    return ready(*optimizers)


def sgd(model: nn.Module, rates: Rates) -> list[torch.optim.Optimizer]:
    """SGD with momentum for everything; weight decay for parameters of two dimensions only."""
    matrices, embeddings, vectors = split(model)
    return ready(SGD(decayed(matrices + embeddings, vectors, rates), lr=rates.lr, momentum=rates.betas[0]))


def sgd_decay(model: nn.Module, rates: Rates) -> list[torch.optim.Optimizer]:
    """SGD whose step shrinks as 1 / sqrt(t), for everything: no momentum, no decay."""
    matrices, embeddings, vectors = split(model)
    return ready(SGDDecay(matrices + embeddings + vectors, lr=rates.lr))


def decayed(tables: list[nn.Parameter], vectors: list[nn.Parameter], rates: Rates) -> list[dict[str, Any]]:
    """Two groups, of which only the first decays; an empty one is left out."""
    groups = [
        {"params": tables, "weight_decay": rates.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def ready(*optimizers: torch.optim.Optimizer) -> list[torch.optim.Optimizer]:
    """The optimizers, each group of which remembers the rate that a schedule takes its fraction of, as `full_lr`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
    return list(optimizers)


def parameters(optimizers: Iterable[torch.optim.Optimizer]) -> list[nn.Parameter]:
    """Every parameter that the optimizers update, in their order."""
    return [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]


OPTIMIZERS = {"adamw": adamw, "muon": muon, "sgd": sgd, "sgd_decay": sgd_decay}
