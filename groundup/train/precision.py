"""Computing in bfloat16 while the weights that learn stay in fp32.

An update is often smaller than bfloat16 can add to a weight (3 significant digits), so the optimizer works on fp32
masters and the forward and backward passes on a bfloat16 copy of them, refreshed once per step.
"""

import copy

import torch
from torch import nn


def device_for(wanted: str) -> torch.device:
    """`auto` is the first of cuda, mps and cpu that this machine has."""
    if wanted != "auto":
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def has_bf16(device: torch.device) -> bool:
    """Does the device multiply bfloat16 matrices in hardware?"""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported()
    return False


def dtype_for(wanted: str, device: torch.device) -> torch.dtype:
    """The dtype to compute in: `fp32`, `bf16`, or for `auto` bf16 where the hardware has it."""
    if wanted == "auto":
        wanted = "bf16" if has_bf16(device) else "fp32"
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[wanted]


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
