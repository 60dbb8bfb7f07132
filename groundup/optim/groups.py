"""Which parameter is updated by which rule: matrices, embeddings, and everything of one dimension."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from groundup.optim.adamw import AdamW
from groundup.optim.muon import Muon

EMBEDDINGS = ("tok_embed", "pos_embed", "bigram_embed", "trigram_embed", "lm_head")


@dataclass(frozen=True)
class Rates:
    """Learning rates and decay. `lr` is AdamW's; `matrix_lr` is Muon's, for the matrices inside the blocks."""

    lr: float = 3e-3
    matrix_lr: float = 0.02
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)


def split(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """(matrices of the blocks, embeddings and head, vectors): norms and biases are vectors and never decay."""
    matrices, embeddings, vectors = [], [], []
    for name, parameter in model.named_parameters():
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
    groups = [
        {"params": matrices + embeddings, "weight_decay": rates.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [AdamW([g for g in groups if g["params"]], lr=rates.lr, betas=rates.betas)]


def muon(model: nn.Module, rates: Rates) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for embeddings, head and vectors."""
    matrices, embeddings, vectors = split(model)
    rest = [
        {"params": embeddings, "weight_decay": rates.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [
        Muon(matrices, lr=rates.matrix_lr, weight_decay=rates.weight_decay),
        AdamW([g for g in rest if g["params"]], lr=rates.lr, betas=rates.betas),
    ]


def parameters(optimizers: Iterable[torch.optim.Optimizer]) -> list[nn.Parameter]:
    """Every parameter that the optimizers update, in their order."""
    return [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]


OPTIMIZERS = {"adamw": adamw, "muon": muon}
