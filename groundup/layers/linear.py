"""Linear: y = x Wᵀ + b. The matrix product that holds nearly all parameters of a language model."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Linear(nn.Module):
    """Maps the last dimension from `in_features` to `out_features`; every leading dimension is kept.

    The weight has shape (out_features, in_features), one row per output. It starts from a normal distribution with
    std = sqrt(2 / (in_features + out_features)) (Glorot & Bengio 2010), cut off at 3 std, which leaves an std of
    0.9866 of it; the bias starts at zero.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = False):
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

        std = math.sqrt(2 / (in_features + out_features))
        nn.init.trunc_normal_(self.weight, std=std, a=-3 * std, b=3 * std)

    def forward(self, x: Float[Tensor, "... in_features"]) -> Float[Tensor, "... out_features"]:
        y = x @ self.weight.T
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
