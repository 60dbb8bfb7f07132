"""AdamW: Adam with decoupled weight decay.

Papers: Adam https://arxiv.org/abs/1412.6980 (algorithm 1), AdamW https://arxiv.org/abs/1711.05101 (algorithm 2).

The textbook form makes eight passes over each weight, the fused one a single pass: on two cores 20.4 and 8.4 ms for
12.2M weights, 1.2 and 0.28 ms for 0.4M.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from groundup.layers.kernels import Kernels, is_fused
from groundup.optim.optimizer import Optimizer
from groundup.optim.shards import local


class AdamW(Optimizer):
    """Moves each weight against the running mean of its gradient, divided by the gradient's running size.

    `betas` are the decay rates of the two running averages, `eps` keeps the division finite, and `weight_decay` pulls
    weights towards zero apart from the gradient. Equal to `torch.optim.AdamW`; its state is `step`, `mean`, `square`.
    `kernels`: "textbook", or "fused", PyTorch's one kernel for all of it.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        kernels: Kernels = "fused",
    ):
        if not (lr >= 0 and eps >= 0 and weight_decay >= 0 and all(0 <= beta < 1 for beta in betas)):
            raise ValueError(
                f"AdamW needs lr, eps, weight_decay >= 0 and betas in [0, 1): {lr}, {eps}, {weight_decay}, {betas}"
            )
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self.is_fused = is_fused(kernels)

    def update_group(self, group: dict[str, Any]) -> None:
        weights = [weight for weight in group["params"] if weight.grad is not None]
        for weight in weights:
            state = self.state[weight]
            if not state:
                state.update(step=0, mean=torch.zeros_like(weight), square=torch.zeros_like(weight))
            state["step"] += 1
        (self._update_fused if self.is_fused else self._update)(weights, group)

    def _update(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        """The two algorithms in their own words, weight by weight."""
        beta1, beta2 = group["betas"]
        for weight in weights:
            assert weight.grad is not None
            state = self.state[weight]
            state["mean"].lerp_(weight.grad, 1 - beta1)
            state["square"].mul_(beta2).addcmul_(weight.grad, weight.grad, value=1 - beta2)

            # Both averages start at zero; dividing by 1 - beta^t removes that bias (Adam, section 3).
            mean_scale = 1 / (1 - beta1 ** state["step"])
            square_scale = 1 / (1 - beta2 ** state["step"])
            size = (state["square"] * square_scale).sqrt_().add_(group["eps"])

            weight.mul_(1 - group["lr"] * group["weight_decay"])
            weight.addcdiv_(state["mean"], size, value=-group["lr"] * mean_scale)

    def _update_fused(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        """The same, all weights of one device, dtype and age in one call, which wants its counter as a tensor."""
        alike: dict[tuple[torch.device, torch.dtype, int], list[Tensor]] = {}
        for weight in weights:
            alike.setdefault((weight.device, weight.dtype, self.state[weight]["step"]), []).append(weight)
        beta1, beta2 = group["betas"]
        for (device, _, step), some in alike.items():
            torch._fused_adamw_(  # pyright: ignore[reportPrivateImportUsage]
                [local(weight) for weight in some],
                [local(weight.grad) for weight in some if weight.grad is not None],
                [local(self.state[weight]["mean"]) for weight in some],
                [local(self.state[weight]["square"]) for weight in some],
                [],  # AMSGrad's greatest squares
                [torch.full((), float(step), device=device)] * len(some),
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )
