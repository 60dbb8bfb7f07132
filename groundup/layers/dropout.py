"""Dropout: in training, a random share of the numbers is set to zero, so that no unit can rely on another.

Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from groundup.layers.kernels import Kernels, is_fused


def dropout(x: Float[Tensor, "..."], share: float, kernels: Kernels = "fused") -> Float[Tensor, "..."]:
    """Each number becomes 0 with probability `share`, else x / (1 - share): the mean stays what it was.

    Nothing needs to be scaled outside training, where `share` is 0 and x comes back as it is.
    Its two forms draw different random numbers.
    """
    if not share:
        return x
    if is_fused(kernels):
        return F.dropout(x, share)
    is_kept = torch.rand_like(x, dtype=torch.float32) >= share
    return x * is_kept / (1 - share)
