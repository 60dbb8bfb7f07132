"""AdamW: Adam with decoupled weight decay.

Papers: Adam https://arxiv.org/abs/1412.6980 (algorithm 1), AdamW https://arxiv.org/abs/1711.05101 (algorithm 2).
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class AdamW(torch.optim.Optimizer):
    """Moves each weight against the running mean of its gradient, divided by the gradient's running size.

    `betas` are the decay rates of the two running averages, `eps` keeps the division finite, and `weight_decay` pulls
    weights towards zero apart from the gradient. Equal to `torch.optim.AdamW`; its state is `step`, `mean`, `square`.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        if lr < 0 or eps < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(
                f"AdamW needs lr, eps, weight_decay >= 0 and betas in [0, 1): {lr}, {eps}, {weight_decay}, {betas}"
            )
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Make one update from the gradients in place; returns the closure's loss when one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state.update(step=0, mean=torch.zeros_like(weight), square=torch.zeros_like(weight))
                state["step"] += 1

                state["mean"].lerp_(weight.grad, 1 - beta1)
                state["square"].mul_(beta2).addcmul_(weight.grad, weight.grad, value=1 - beta2)

                # Both averages start at zero; dividing by 1 - beta^t removes that bias (Adam, section 3).
                mean_scale = 1 / (1 - beta1 ** state["step"])
                square_scale = 1 / (1 - beta2 ** state["step"])
                size = (state["square"] * square_scale).sqrt_().add_(group["eps"])

                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.addcdiv_(state["mean"], size, value=-group["lr"] * mean_scale)
        return loss
