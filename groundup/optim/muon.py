"""Muon: momentum whose direction is made orthogonal, for the weight matrices between the embeddings.

A gradient matrix is dominated by a few directions. Muon replaces its singular values by values near one, so that rare
directions are learned as quickly as common ones. Source: https://kellerjordan.github.io/posts/muon/ (K. Jordan et al.).
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

# The quintic x -> a x + b x^3 + c x^5 with the steepest slope at zero that keeps singular values in about [0.7, 1.2].
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, n_steps: int = 5) -> Tensor:
    """The nearest (half-)orthogonal matrices to a stack (..., rows, columns), roughly: U V^T of each U S V^T.

    Newton-Schulz needs only matrix products, so it runs in bfloat16; the result's singular values lie near one.
    """
    a, b, c = NEWTON_SCHULZ
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.bfloat16()
    x = x.mT if is_tall else x
    # The iteration converges for singular values up to one, and the Frobenius norm is never below the largest of them.
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(n_steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, for parameters of two dimensions only.

    The step is scaled by sqrt(max(1, rows / columns)), so that one `lr` serves matrices of all shapes. Equal to
    `torch.optim.Muon` up to bfloat16 rounding; matrices of one shape are orthogonalised together. State: `momentum`.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ):
        if lr < 0 or weight_decay < 0 or not 0 <= momentum < 1:
            raise ValueError(
                f"Muon needs lr, weight_decay >= 0 and momentum in [0, 1): {lr}, {weight_decay}, {momentum}"
            )
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.ndim != 2:
                    raise ValueError(f"Muon takes matrices only, not shape {tuple(weight.shape)}; give it to AdamW")

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Make one update from the gradients in place; returns the closure's loss when one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    by_shape.setdefault(weight.shape, []).append(weight)
            for (rows, columns), weights in by_shape.items():
                updates = orthogonalise(torch.stack([self._nesterov(w, group["momentum"]) for w in weights]))
                scale = max(1.0, rows / columns) ** 0.5
                for weight, update in zip(weights, updates, strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.add_(update, alpha=-group["lr"] * scale)
        return loss

    def _nesterov(self, weight: Tensor, momentum: float) -> Tensor:
        """Fold the gradient into the running mean, and look one step ahead of it."""
        assert weight.grad is not None
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(state["momentum"], momentum)
