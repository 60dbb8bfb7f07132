"""What every optimizer here shares: a step is an update of each of its groups."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Optimizer(torch.optim.Optimizer):
    """A `torch.optim.Optimizer` whose rule is `update_group(group)`, called without gradients."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Make one update from the gradients in place; returns the closure's loss when one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self.update_group(group)
        return loss

    def update_group(self, group: dict[str, Any]) -> None:
        """Move the weights of one group that have a gradient, by the group's settings."""
        raise NotImplementedError
