"""Softmax: scores of any size become positive numbers that sum to one."""

import torch
from jaxtyping import Float
from torch import Tensor


def at_least_fp32(x: Tensor) -> Tensor:
    """`x` in fp32, or wider if it was. Sums of exponentials and of squares lose too much in 16 bits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def softmax(x: Float[Tensor, "..."], dim: int = -1) -> Float[Tensor, "..."]:
    """exp(x) / sum(exp(x)) along `dim`, in the dtype of `x`.

    Subtracting the maximum first changes nothing in the quotient, and keeps exp from overflowing: the largest
    exponent is then 0. Where every score along `dim` is -inf (nothing may be chosen) the result is 0, not NaN.

    softmax([1001, 1001]) == [0.5, 0.5]
    """
    scores = at_least_fp32(x)
    highest = scores.amax(dim, keepdim=True)
    exponentials = (scores - highest.clamp(min=torch.finfo(scores.dtype).min)).exp()
    total = exponentials.sum(dim, keepdim=True)
    return (exponentials / total.where(total > 0, 1)).to(x.dtype)
