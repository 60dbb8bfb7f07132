"""Muon: momentum whose direction is made orthogonal, for the weight matrices between the embeddings.

A gradient matrix is dominated by a few directions. Muon replaces its singular values by values near one, so that rare
directions are learned as quickly as common ones. Source: https://kellerjordan.github.io/posts/muon/ (K. Jordan et al.).
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from groundup.layers.kernels import Kernels, is_fused
from groundup.optim.optimizer import Optimizer
from groundup.optim.shards import local, share, whole

# The quintic x -> a x + b x^3 + c x^5 with the steepest slope at zero that keeps singular values in about [0.7, 1.2].
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)

STACK = 2**24
"""Numbers that are orthogonalised in one go. More gain no speed, and cost up to ten bytes each for as long."""


def orthogonalise(matrices: Tensor, n_steps: int = 5, kernels: Kernels = "fused") -> Tensor:
    """The nearest (half-)orthogonal matrices to a stack (..., rows, columns), roughly: U V^T of each U S V^T.

    Newton-Schulz needs only matrix products, so it runs in bfloat16; the result's singular values lie near one.
    """
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.bfloat16()
    x = x.mT if is_tall else x
    # The iteration converges for singular values up to one, and the Frobenius norm is never below the largest of them.
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    improve = improve_fused if is_fused(kernels) and x.ndim == 3 else improve_textbook
    for _ in range(n_steps):
        x = improve(x)
    return x.mT if is_tall else x


def improve_textbook(x: Tensor) -> Tensor:
    """One step of the iteration, for matrices (..., rows, columns) of no more rows than columns."""
    a, b, c = NEWTON_SCHULZ
    gram = x @ x.mT
    return a * x + (b * gram + c * gram @ gram) @ x


def improve_fused(x: Tensor) -> Tensor:
    """The same with each sum inside its product: three passes in place of eight, for a stack (n, rows, columns)."""
    a, b, c = NEWTON_SCHULZ
    gram = torch.bmm(x, x.mT)
    polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    return torch.baddbmm(x, polynomial, x, beta=a)


class Muon(Optimizer):
    """Nesterov momentum, orthogonalised, for parameters of two dimensions only.

    The step is scaled by sqrt(max(1, rows / columns)), so that one `lr` serves matrices of all shapes. Equal to
    `torch.optim.Muon` up to bfloat16 rounding; matrices of one shape are orthogonalised together. State: `momentum`.
    `kernels`: "textbook", or "fused", which folds sums into the matrix products. Of matrices that are spread over
    devices, every rank orthogonalises the whole and takes its rows.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        kernels: Kernels = "fused",
    ):
        if not (lr >= 0 and weight_decay >= 0 and 0 <= momentum < 1):
            raise ValueError(
                f"Muon needs lr, weight_decay >= 0 and momentum in [0, 1): {lr}, {weight_decay}, {momentum}"
            )
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.kernels: Kernels = kernels
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.ndim != 2:
                    raise ValueError(f"Muon takes matrices only, not shape {tuple(weight.shape)}; give it to AdamW")

    def update_group(self, group: dict[str, Any]) -> None:
        for weights in stacks([weight for weight in group["params"] if weight.grad is not None]):
            ahead = torch.stack([whole(self._nesterov(weight, group["momentum"]).bfloat16()) for weight in weights])
            updates = orthogonalise(ahead, kernels=self.kernels)
            rows, columns = weights[0].shape
            scale = max(1.0, rows / columns) ** 0.5
            for weight, update in zip(weights, updates, strict=True):
                mine = local(weight)
                mine.mul_(1 - group["lr"] * group["weight_decay"])
                mine.add_(share(update, weight), alpha=-group["lr"] * scale)

    def _nesterov(self, weight: Tensor, momentum: float) -> Tensor:
        """Fold the gradient into the running mean, and look one step ahead of it."""
        assert weight.grad is not None
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(state["momentum"], momentum)


def stacks(weights: list[Tensor]) -> Iterator[list[Tensor]]:
    """The weights in groups of one shape, at most `STACK` numbers in each (but always one weight)."""
    by_shape: dict[torch.Size, list[Tensor]] = {}
    for weight in weights:
        by_shape.setdefault(weight.shape, []).append(weight)
    for alike in by_shape.values():
        n_together = max(1, STACK // max(1, alike[0].numel()))
        for first in range(0, len(alike), n_together):
            yield alike[first : first + n_together]
