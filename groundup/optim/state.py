"""An optimizer's memory as named tensors, to be written with a checkpoint and read back on resuming.

Names are `<optimizer>.<parameter>.<entry>`, for example `0.blocks.3.attn.q_proj.weight.momentum`; counters become
tensors of one integer, and Python numbers again, so that what is saved, loaded and saved is the same bytes. Nothing but
tensors leaves this file, so that no pickle is needed.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


def to_tensors(optimizers: Sequence[torch.optim.Optimizer], model: nn.Module) -> dict[str, Tensor]:
    """All state entries by name, in the order of the model's parameters."""
    tensors: dict[str, Tensor] = {}
    for number, optimizer in enumerate(optimizers):
        for name, parameter in model.named_parameters():
            for entry, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{number}.{name}.{entry}"] = torch.as_tensor(value)
    return tensors


def from_tensors(tensors: Mapping[str, Tensor], optimizers: Sequence[torch.optim.Optimizer], model: nn.Module) -> None:
    """Put the entries back. Raises `ValueError` naming an entry that has no parameter, or that has another shape."""
    parameter_by_name = dict(model.named_parameters())
    for key, value in tensors.items():
        number, _, rest = key.partition(".")
        name, _, entry = rest.rpartition(".")
        parameter = parameter_by_name.get(name)
        if parameter is None or int(number) >= len(optimizers):
            raise ValueError(f"the optimizer state {key} belongs to no parameter of this model")
        if value.ndim and value.shape != parameter.shape:
            raise ValueError(f"the optimizer state {key} has shape {tuple(value.shape)}, not {tuple(parameter.shape)}")
        # A counter was a Python number before it was saved, and stays one: AdamW raises its betas to it.
        kept = value.to(parameter.device).clone() if value.ndim else value.item()
        optimizers[int(number)].state[parameter][entry] = kept
