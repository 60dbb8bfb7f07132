"""The starting weights of a whole model, in one table. Each layer's own start is for whoever uses it alone.

| parameter                                   | starts as                                                        |
|---------------------------------------------|------------------------------------------------------------------|
| embeddings and matrices                     | normal, std 0.02                                                 |
| what writes to the residual stream:         | normal, std 0.02 / sqrt(2 · n_layers)                            |
| `o_proj` and `down_proj`                    |                                                                  |
| weights of norms                            | one                                                              |
| biases                                      | zero                                                             |

The residual stream is a sum of 2 · n_layers outputs. Their scale keeps its variance from growing with depth.
Radford et al. 2019, section 2.3 (GPT-2).
"""

import math

import torch
from torch import nn

STD = 0.02


def initialise(model: nn.Module, seed: int | None = None) -> None:
    """Overwrites every parameter of a model that has `blocks`, in place. With a seed, always with the same numbers."""
    n_layers = len(model.blocks)  # pyright: ignore[reportArgumentType]
    device = next(model.parameters()).device
    generator = None if seed is None else torch.Generator(device).manual_seed(seed)

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.ndim == 1:
                parameter.fill_(1)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter.normal_(0, STD / math.sqrt(2 * n_layers), generator=generator)
            else:
                parameter.normal_(0, STD, generator=generator)
