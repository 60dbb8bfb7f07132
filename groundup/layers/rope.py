"""RoPE, rotary position embedding. Su et al. 2021, arXiv 2104.09864.

Queries and keys are cut into pairs of numbers, and each pair is turned, like the hand of a clock, by an angle that
grows with the position: fast for the first pairs, slowly for the last. The product of a query and a key then depends
on how far apart the two stand, not on where they stand.

Which two numbers make a pair is a matter of layout:

    half-split   (x0, x4) (x1, x5) (x2, x6) (x3, x7)    Hugging Face, and our models
    interleaved  (x0, x1) (x2, x3) (x4, x5) (x6, x7)    the paper, Meta's own files, GGUF

Both are the same model once the rows of the query and key weights are reordered to match; `to_half_split` does that.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

Rotation = tuple[Tensor, Tensor]


def inverse_frequencies(head_dim: int, theta: float = 10_000.0) -> Float[Tensor, " half"]:
    """Radians by which pair i turns per position: theta^(-2i / head_dim), in fp32."""
    # On the CPU even while a model is laid out on the "meta" device, where tensors have a shape and no numbers.
    return 1 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu") / head_dim)


class RoPE:
    """Rotations for heads of width `head_dim`. It holds no weights and no table that could be too short.

    rope = RoPE(64)
    q, k = rope(q), rope(k)                    # positions 0, 1, 2 ...
    rotation = rope.rotation(positions)        # the same, for use in every layer: computed once
    q, k = rotate(q, *rotation), rotate(k, *rotation)
    """

    def __init__(self, head_dim: int, theta: float = 10_000.0, interleaved: bool = False):
        if head_dim % 2:
            raise ValueError(f"head_dim is {head_dim}; RoPE turns pairs, so it must be even")
        self.interleaved = interleaved
        self.frequencies = inverse_frequencies(head_dim, theta)

    def rotation(self, positions: Int[Tensor, "... T"], dtype: torch.dtype = torch.float32) -> Rotation:
        """Cosine and sine of every angle, both (..., T, head_dim / 2).

        The angles are computed in fp32 whatever the dtype of the model: position 4001 does not exist in bf16.
        """
        self.frequencies = self.frequencies.to(positions.device)
        angles = positions[..., None].float() * self.frequencies
        return angles.cos().to(dtype), angles.sin().to(dtype)

    def __call__(
        self, x: Float[Tensor, "... T head_dim"], positions: Int[Tensor, "... T"] | None = None
    ) -> Float[Tensor, "... T head_dim"]:
        if positions is None:
            positions = torch.arange(x.shape[-2], device=x.device)
        return rotate(x, *self.rotation(positions, x.dtype), interleaved=self.interleaved)


def rotate(
    x: Float[Tensor, "... T head_dim"],
    cos: Float[Tensor, "... T half"],
    sin: Float[Tensor, "... T half"],
    interleaved: bool = False,
) -> Float[Tensor, "... T head_dim"]:
    """Turns each pair (a, b) to (a cos - b sin, a sin + b cos). `cos` and `sin` broadcast over leading dimensions."""
    if interleaved:
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


def to_half_split(weight: Float[Tensor, " rows *rest"], n_heads: int) -> Float[Tensor, " rows *rest"]:
    """Reorders the rows of an interleaved query or key weight (or bias) so that the half-split rotation fits it."""
    return weight.unflatten(0, (n_heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def to_interleaved(weight: Float[Tensor, " rows *rest"], n_heads: int) -> Float[Tensor, " rows *rest"]:
    """The inverse of `to_half_split`."""
    return weight.unflatten(0, (n_heads, 2, -1)).transpose(1, 2).flatten(0, 2)
