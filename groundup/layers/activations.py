"""The bends between two linear maps; without one, two of them would collapse into a single matrix."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from groundup.layers.kernels import Kernels, is_fused


def silu(x: Float[Tensor, "..."], kernels: Kernels = "fused") -> Float[Tensor, "..."]:
    """x · sigmoid(x), also called swish. Used by Llama."""
    if is_fused(kernels):
        return F.silu(x)
    return x * torch.sigmoid(x)


def gelu(x: Float[Tensor, "..."], kernels: Kernels = "fused") -> Float[Tensor, "..."]:
    """x · P(Z <= x) for a standard normal Z, exactly. Hendrycks & Gimpel 2016, arXiv 1606.08415."""
    if is_fused(kernels):
        return F.gelu(x)
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def gelu_tanh(x: Float[Tensor, "..."], kernels: Kernels = "fused") -> Float[Tensor, "..."]:
    """GELU with tanh in place of erf, at most 5e-4 away from it. GPT-2 was trained with this one (`gelu_new`)."""
    if is_fused(kernels):
        return F.gelu(x, approximate="tanh")
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def relu_squared(x: Float[Tensor, "..."], kernels: Kernels = "fused") -> Float[Tensor, "..."]:
    """max(x, 0)². Cheap, and most of its outputs are exactly zero. So et al. 2021 (Primer), arXiv 2109.08668."""
    if is_fused(kernels):
        return x.relu().square()
    return torch.where(x > 0, x * x, 0)


ACTIVATIONS: dict[str, Callable[[Tensor, Kernels], Tensor]] = {
    "silu": silu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu_squared": relu_squared,
}
