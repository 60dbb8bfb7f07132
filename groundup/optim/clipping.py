"""Gradient clipping by the norm of all gradients together."""

from collections.abc import Iterable

import torch
from torch import Tensor

from groundup.optim.shards import local, whole


def norm(gradients: list[Tensor]) -> Tensor:
    """The Euclidean norm of all gradients as one long vector, a scalar; the same on every rank if they are spread."""
    if not gradients:
        return torch.tensor(0.0)
    norms = torch._foreach_norm(gradients)  # pyright: ignore[reportPrivateImportUsage]
    return whole(torch.linalg.vector_norm(torch.stack(norms)))


@torch.no_grad()
def gradient_clip(parameters: Iterable[Tensor], max_norm: float, scale: float = 1.0) -> Tensor:
    """Multiply all gradients by `scale`, and further so that their common norm is at most `max_norm`.

    Returns the norm before clipping. Both factors are applied in one pass, in place. One very large gradient would
    otherwise throw the weights far away (https://arxiv.org/abs/1211.5063, algorithm 1).
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    total = norm(gradients) * scale
    if not gradients:
        return total
    factor = (max_norm / (total + 1e-6)).clamp(max=1.0) * scale
    torch._foreach_mul_([local(gradient) for gradient in gradients], factor)  # pyright: ignore[reportPrivateImportUsage]
    return total
