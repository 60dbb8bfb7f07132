"""LayerNorm and RMSNorm: bring every vector to a common scale, so that depth neither explodes nor fades.

Both work on the last dimension, keep every leading one, and compute in fp32 even when input and weight are bf16.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from groundup.layers.kernels import Kernels, is_fused
from groundup.layers.softmax import at_least_fp32


class LayerNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) · weight + bias. Ba et al. 2016, arXiv 1607.06450."""

    def __init__(self, d_model: int, eps: float = 1e-5, bias: bool = True, kernels: Kernels = "fused"):
        super().__init__()
        self.eps = eps
        self.is_fused = is_fused(kernels)
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model)) if bias else None

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        if self.is_fused:
            return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)

        centred = at_least_fp32(x)
        centred = centred - centred.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        y = centred * torch.rsqrt(variance + self.eps) * self.weight
        return (y if self.bias is None else y + self.bias).to(x.dtype)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) · weight: LayerNorm without mean and bias. Zhang & Sennrich 2019, arXiv 1910.07467."""

    def __init__(self, d_model: int, eps: float = 1e-5, kernels: Kernels = "fused"):
        super().__init__()
        self.eps = eps
        self.is_fused = is_fused(kernels)
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        if self.is_fused:
            if x.device.type == "cpu" and torch.is_grad_enabled():
                return _RMSNorm.apply(x, self.weight, self.eps)
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)

        wide = at_least_fp32(x)
        mean_square = wide.square().mean(-1, keepdim=True)
        return (wide * torch.rsqrt(mean_square + self.eps) * self.weight).to(x.dtype)


class _RMSNorm(torch.autograd.Function):
    """RMSNorm and its gradient in few passes over memory: PyTorch has no kernel for it on the CPU and makes twelve."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
        scale = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, scale = ctx.saved_tensors
        normed = (x * scale).to(x.dtype)
        d_weight = (dy * normed).sum_to_size(weight.shape)
        # Growing x along itself changes nothing, so that part of the gradient is taken out.
        d_normed = dy * weight
        along = (d_normed * normed).mean(-1, keepdim=True)
        return (torch.addcmul(d_normed, normed, along, value=-1) * scale).to(dy.dtype), d_weight, None
