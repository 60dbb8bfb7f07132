"""How far two recordings are apart, tensor by tensor, and how far rounding alone may carry them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from groundup.insight.verify.recording import Recording

FLOOR = 5e-6
"""Differences up to this share of a tensor's largest number are rounding, however short the way to it was."""
GRADIENT_FLOOR = 1e-4
ROOM = 20
"""Times what the jitter of one rounding per module made of a tensor: kernels add up many numbers in another order."""
JITTER = 6e-8
"""Half the distance between 1 and the next number in fp32."""


@dataclass(frozen=True)
class Difference:
    """One tensor of ours beside the judge's. `error` and `allowed` are shares of the judge's largest number in it."""

    name: str
    kind: str  # "activation", "gradient"
    error: float
    allowed: float
    ours: tuple[int, ...]
    judge: tuple[int, ...]

    @property
    def agrees(self) -> bool:
        return self.error <= self.allowed

    @property
    def label(self) -> str:
        return self.name if self.kind == "activation" else f"gradient of {self.name}"


def allowances(ours: Recording, shaken: Recording) -> dict[str, float]:
    """The error allowed for each activation: `shaken` is the same model, run with a jitter of JITTER."""
    return {
        name: max(FLOOR, ROOM * relative_error(shaken.activations[name], tensor))
        for name, tensor in ours.activations.items()
        if name in shaken.activations
    }


def differences(ours: Recording, judge: Recording, allowed: Mapping[str, float]) -> Iterator[Difference]:
    """Tensors that both have: activations in the order in which they are computed, gradients from the last back."""
    for name, tensor in ours.activations.items():
        if name in judge.activations:
            yield difference(name, "activation", tensor, judge.activations[name], allowed.get(name, FLOOR))
    room = max(GRADIENT_FLOOR, 10 * allowed.get("logits", FLOOR))
    largest = _largest_by_module(judge.gradients)
    least = 3e-3 * max(largest.values(), default=0.0)
    for name, tensor in reversed(list(ours.gradients.items())):
        if name in judge.gradients:
            # A bias of the keys has no gradient but rounding, so a module is held to the largest of its weights.
            floor = max(least, largest[name.rpartition(".")[0]])
            yield difference(name, "gradient", tensor, judge.gradients[name], room, floor)


def _largest_by_module(gradients: Mapping[str, Tensor]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, tensor in gradients.items():
        module = name.rpartition(".")[0]
        found[module] = max(found.get(module, 0.0), tensor.abs().max().item())
    return found


def difference(name: str, kind: str, ours: Tensor, judge: Tensor, allowed: float, floor: float = 0.0) -> Difference:
    shapes = tuple(ours.shape), tuple(judge.shape)
    error = min((relative_error(ours, other, floor) for ours, other in _alike(ours, judge)), default=math.inf)
    return Difference(name, kind, error, allowed, *shapes)


def _alike(ours: Tensor, judge: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Both in one shape, in each way in which they may be the same: heads before positions, given out, one long row."""
    if ours.shape == judge.shape:
        yield ours, judge
    if ours.ndim == judge.ndim == 4:
        if ours.shape == judge.transpose(1, 2).shape:
            yield ours, judge.transpose(1, 2)
        n, m = ours.shape[1], judge.shape[1]
        if n != m and ours.shape[2:] == judge.shape[2:] and max(n, m) % min(n, m) == 0:
            yield ours.repeat_interleave(max(1, m // n), 1), judge.repeat_interleave(max(1, n // m), 1)
    elif ours.ndim != judge.ndim and ours.numel() == judge.numel() and ours.shape[-1] == judge.shape[-1]:
        yield ours, judge.reshape(ours.shape)


def relative_error(ours: Tensor, judge: Tensor, floor: float = 0.0) -> float:
    """The largest difference, as a share of the judge's largest number; inf where only one of them is a number."""
    if not ours.numel():
        return 0.0
    off, largest = (ours - judge).abs().max().item(), judge.abs().max().item()
    if not math.isfinite(off):
        # What is infinite, or no number, in the same places in both, agrees there.
        is_same = (ours == judge) | (ours.isnan() & judge.isnan())
        off = (ours - judge).abs().where(~is_same, 0).nan_to_num(math.inf).max().item()
        largest = judge.where(judge.isfinite(), 0).abs().max().item()
    return off / max(largest, floor, torch.finfo(torch.float32).tiny)
