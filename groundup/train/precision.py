"""Computing in 16 bits while the weights that learn stay in fp32.

An update is often smaller than bfloat16 can add to a weight (3 significant digits), so the optimizer works on fp32
masters and the forward and backward passes on a copy of them in 16 bits, refreshed once per step.

float16 has the same size and more digits, but nothing below 6e-8: gradients would vanish. So the loss is multiplied by
a large number first, and the gradients divided by it in fp32 (`LossScale`). Micikevicius et al. 2018, arXiv 1710.03740.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Masters:
    """`masters` is the fp32 model that the optimizer updates; `working` the one to call, which may be the same."""

    def __init__(self, model: nn.Module, dtype: torch.dtype):
        self.masters = model
        self.working = model
        if dtype != torch.float32:
            self.working = copy.deepcopy(model)
            for parameter in self.working.parameters():
                parameter.data = parameter.data.to(dtype)
        self._pairs = list(zip(model.parameters(), self.working.parameters(), strict=True))

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the masters into the working weights, once per step."""
        if self.working is not self.masters:
            masters, working = zip(*self._pairs, strict=True)
            torch._foreach_copy_(working, masters)  # pyright: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def collect(self) -> None:
        """Add the working gradients to the masters' in fp32, once per micro-batch, and clear them."""
        if self.working is self.masters:
            return
        for master, work in self._pairs:
            if work.grad is None:
                continue
            if master.grad is None:
                master.grad = work.grad.float()
            else:
                master.grad.add_(work.grad)
            work.grad = None

    def take(self, working: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[nn.Parameter]:
        """Add gradients of these working weights to their masters' in fp32; returns the masters, in that order."""
        by_id = {id(work): master for master, work in self._pairs}
        masters = [by_id[id(work)] for work in working]
        for master, gradient in zip(masters, gradients, strict=True):
            if master.grad is None:
                master.grad = gradient.to(torch.float32, copy=True)
            else:
                master.grad.add_(gradient)
        return masters

    def drop_gradients(self) -> None:
        """Forget the gradients of a step that is not to be made."""
        for master, work in self._pairs:
            master.grad = work.grad = None


SMALLEST_SCALE = 2.0**-20
"""A sum over a million targets is then like a mean. Without an end, a scale would fall to zero in a broken run."""


class LossScale:
    """The factor of an fp16 loss: halved when a gradient overflows, doubled after `patience` steps without.

    The losses here are sums over thousands of targets, which is a large scale already; so it starts at 8.
    """

    def __init__(self, dtype: torch.dtype, patience: int = 2000):
        self.is_used = dtype == torch.float16
        self.value = 8.0 if self.is_used else 1.0
        self.n_good = 0
        self._patience = patience

    @property
    def can_fall(self) -> bool:
        """May an overflow be the scale's fault? Where it is this small already, the fault lies elsewhere."""
        return self.is_used and self.value > SMALLEST_SCALE

    def update(self, is_finite: bool) -> None:
        """After each step: were its gradients finite?"""
        if not self.is_used:
            return
        self.n_good = self.n_good + 1 if is_finite else 0
        if not is_finite:
            self.value = max(self.value / 2, SMALLEST_SCALE)
        elif self.n_good == self._patience:
            self.value, self.n_good = self.value * 2, 0

    def state(self) -> list[float]:
        """[value, steps since the last overflow], for the checkpoint."""
        return [self.value, self.n_good]

    def load(self, state: list[float]) -> None:
        """What `state` gave."""
        if state:
            self.value, self.n_good = float(state[0]), int(state[1])
