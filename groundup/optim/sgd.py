"""Stochastic gradient descent: with momentum, and with a step that shrinks by itself.

Momentum: Polyak 1964, https://doi.org/10.1016/0041-5553(64)90137-5; Nesterov's form and the notation:
https://proceedings.mlr.press/v28/sutskever13.html. A step of 1/sqrt(t): https://doi.org/10.1214/aoms/1177729586
(Robbins and Monro ask for steps that sum to infinity but shrink).
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from groundup.optim.optimizer import Optimizer


class SGD(Optimizer):
    """Moves each weight against a running sum of its gradients, in which older ones count `momentum` times less a step.

    `nesterov` looks one step ahead of that sum. `weight_decay` is added to the gradient (L2), and so is scaled by the
    learning rate and remembered by the momentum, unlike AdamW's. Equal to `torch.optim.SGD` with a dampening of 0; its
    state is `momentum`, and nothing where that is 0.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ):
        if not (lr >= 0 and weight_decay >= 0 and 0 <= momentum < 1):
            raise ValueError(
                f"SGD needs lr, weight_decay >= 0 and momentum in [0, 1): {lr}, {weight_decay}, {momentum}"
            )
        if nesterov and not momentum:
            raise ValueError("nesterov looks ahead along the momentum; with momentum = 0 there is none")
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, defaults)

    def update_group(self, group: dict[str, Any]) -> None:
        for weight in group["params"]:
            if weight.grad is None:
                continue
            update = weight.grad
            if group["weight_decay"]:
                update = update.add(weight, alpha=group["weight_decay"])
            if group["momentum"]:
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                running = state["momentum"].mul_(group["momentum"]).add_(update)
                update = update.add(running, alpha=group["momentum"]) if group["nesterov"] else running
            weight.add_(update, alpha=-group["lr"])


class SGDDecay(Optimizer):
    """w <- w - lr / sqrt(t + 1) * gradient, t = 0, 1, 2, ...: the simplest rule that can settle down by itself.

    Its state is `step`, the t of each weight. On w = 4, a loss of w^2 / 2 and lr = 0.5: 4, then 4 · 0.5 = 2, then
    2 · (1 - 0.5 / sqrt(2)) = 1.293, and so on.
    """

    def __init__(self, params: Iterable[Tensor] | Iterable[dict[str, Any]], lr: float = 1e-3):
        if not lr >= 0:
            raise ValueError(f"SGDDecay needs lr >= 0: {lr}")
        super().__init__(params, {"lr": lr})

    def update_group(self, group: dict[str, Any]) -> None:
        for weight in group["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:
                state["step"] = 0
            weight.add_(weight.grad, alpha=-group["lr"] / (state["step"] + 1) ** 0.5)
            state["step"] += 1
