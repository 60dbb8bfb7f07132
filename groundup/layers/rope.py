"""RoPE, rotary position embedding. Su et al. 2021, arXiv 2104.09864.

Queries and keys are cut into pairs of numbers, and each pair is turned, like the hand of a clock, by an angle that
grows with the position: fast for the first pairs, slowly for the last. The product of a query and a key then depends
on how far apart the two stand, not on where they stand.

Which two numbers make a pair is a matter of layout:

    half-split   (x0, x4) (x1, x5) (x2, x6) (x3, x7)    Hugging Face, and our models
    interleaved  (x0, x1) (x2, x3) (x4, x5) (x6, x7)    the paper, Meta's own files, GGUF

Both are the same model once the rows of the query and key weights are reordered to match; `to_half_split` does that.

A model that was trained on short texts has never seen its slow pairs at the angles of a long text. A scaling slows them
down, so that a long text stays within known angles. How many heads there are (attention.py) and how positions are
scaled (here) are two choices, which people name in one breath:

| name                | key-value heads | scaling | a pair turns slower by                        | models          |
|---------------------|-----------------|---------|-----------------------------------------------|-----------------|
| RoPE-MHA, or "RoPE  | as many as      | none    | 1                                             | Llama 1,        |
| attention"          | query heads     |         |                                               | Llama 2 7B, 13B |
| RoPE-GQA, "grouped- | fewer           | none    | 1                                             | Llama 2 70B,    |
| query attention"    |                 |         |                                               | Llama 3, Qwen3  |
| position            | either          | linear  | `factor`, every pair                          | Llama 2 tuned   |
| interpolation       |                 |         |                                               | by others       |
| Llama 3.1's         | fewer           | llama3  | 1 if it turns 4 times in `trained_context`,   | Llama 3.1, 3.2  |
|                     |                 |         | `factor` if less than once; between by turns  |                 |
| YaRN-GQA, "YaRN     | fewer           | yarn    | 1 if it turns 32 times, `factor` if less than | Qwen2.5, Qwen3  |
| attention"          |                 |         | once; between by the number of the pair; and  | beyond 32,768   |
|                     |                 |         | queries and keys grow by `attention_factor`   | ids             |

Meta's Llama 3.1 uses `llama3` and not YaRN, whatever is said of it. With one in place of the other a model still talks,
only worse, and no error says why.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

Rotation = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class RopeConfig:
    """How positions turn queries and keys. A value of 0 stands for "not given"."""

    theta: float = 10_000.0
    """The slowest pair of a head turns once in about 2π · theta positions. Longer contexts want a larger theta."""
    scaling: str = "none"
    """"none", "linear", "llama3" or "yarn": how a model is stretched beyond the context it was trained on."""
    factor: float = 1.0
    """How many times the trained context is stretched."""
    trained_context: int = 0
    """Positions the model was trained on before it was stretched; llama3 and yarn need it."""
    low_freq_factor: float = 1.0
    """llama3: a pair with fewer turns than this within `trained_context` is slowed down in full."""
    high_freq_factor: float = 4.0
    """llama3: a pair with more turns than this is left alone."""
    beta_fast: float = 32.0
    """yarn: a pair with more turns than this within `trained_context` is left alone."""
    beta_slow: float = 1.0
    """yarn: a pair with fewer turns than this is slowed down in full."""
    attention_factor: float = 0.0
    """yarn: by how much queries and keys grow; 0 means 0.1 · ln(factor) + 1."""
    mscale: float = 0.0
    """yarn, DeepSeek's: with `mscale_all_dim`, weighs the logarithm in that formula; both or neither."""
    mscale_all_dim: float = 0.0
    """yarn: the same in the divisor."""
    truncate: bool = True
    """yarn: whether the pairs between which it blends are rounded outwards to whole numbers."""

    def __post_init__(self):
        def need(name: str, is_valid: bool, valid: str) -> None:
            if not is_valid:
                raise ValueError(f"rope.{name} is {getattr(self, name)!r}; valid values are {valid}")

        need("theta", 1 < self.theta < math.inf, "above 1, such as 10000")
        need("scaling", self.scaling in SCALINGS, ", ".join(SCALINGS))
        need("factor", 1 <= self.factor < math.inf, "from 1")
        # A factor that does nothing was meant to do something.
        need("factor", self.scaling != "none" or self.factor == 1, 'only 1 with rope.scaling = "none"')
        is_needed = self.scaling in ("llama3", "yarn")
        need("trained_context", self.trained_context >= int(is_needed), f"whole numbers from {int(is_needed)}")
        need("low_freq_factor", 0 < self.low_freq_factor < math.inf, "above 0")
        need("high_freq_factor", self.low_freq_factor < self.high_freq_factor < math.inf, "above rope.low_freq_factor")
        need("beta_slow", 0 < self.beta_slow < math.inf, "above 0")
        need("beta_fast", self.beta_slow < self.beta_fast < math.inf, "above rope.beta_slow")
        for name in ("attention_factor", "mscale", "mscale_all_dim"):
            need(name, 0 <= getattr(self, name) < math.inf, "above 0, and 0 for not given")


def inverse_frequencies(head_dim: int, config: RopeConfig | None = None) -> Float[Tensor, " half"]:
    """Radians by which pair i turns per position: theta^(-2i / head_dim), scaled, in fp32."""
    config = config or RopeConfig()
    # On the CPU even while a model is laid out on the "meta" device, where tensors have a shape and no numbers.
    frequencies = 1 / config.theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu") / head_dim)
    return SCALINGS[config.scaling](frequencies, config)


def attention_factor(config: RopeConfig) -> float:
    """By how much yarn lengthens queries and keys, so that attention stays as sharp over more positions; else 1.

    0.1 · ln(factor) + 1, section 3.4 of the paper; DeepSeek divides two of them with weights of their own.
    """
    if config.scaling != "yarn":
        return 1.0
    if config.attention_factor:
        return config.attention_factor

    def temperature(weight: float) -> float:
        return 0.1 * weight * math.log(config.factor) + 1

    if config.mscale and config.mscale_all_dim:
        return temperature(config.mscale) / temperature(config.mscale_all_dim)
    return temperature(1)


class RoPE:
    """Rotations for heads of width `head_dim`. It holds no weights and no table that could be too short.

    rope = RoPE(64, RopeConfig(theta=500_000))
    q, k = rope(q), rope(k)                    # positions 0, 1, 2 ...
    rotation = rope.rotation(positions)        # the same, for use in every layer: computed once
    q, k = rotate(q, *rotation), rotate(k, *rotation)
    """

    def __init__(self, head_dim: int, config: RopeConfig | None = None, interleaved: bool = False):
        if head_dim % 2:
            raise ValueError(f"head_dim is {head_dim}; RoPE turns pairs, so it must be even")
        config = config or RopeConfig()
        self.interleaved = interleaved
        self.frequencies = inverse_frequencies(head_dim, config)
        self.attention_factor = attention_factor(config)

    def rotation(self, positions: Int[Tensor, "... T"], dtype: torch.dtype = torch.float32) -> Rotation:
        """Cosine and sine of every angle, both (..., T, head_dim / 2), times the attention factor.

        The angles are computed in fp32 whatever the dtype of the model: position 4001 does not exist in bf16.
        """
        self.frequencies = self.frequencies.to(positions.device)
        angles = positions[..., None].float() * self.frequencies
        cos, sin = angles.cos(), angles.sin()
        if self.attention_factor != 1:
            cos, sin = cos * self.attention_factor, sin * self.attention_factor
        return cos.to(dtype), sin.to(dtype)

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


# --- Scalings: the frequencies of a model, stretched. One function and one line in the table each. ---


def not_scaled(frequencies: Float[Tensor, " half"], config: RopeConfig) -> Float[Tensor, " half"]:
    return frequencies


def scale_linear(frequencies: Float[Tensor, " half"], config: RopeConfig) -> Float[Tensor, " half"]:
    """Every pair turns `factor` times slower: position interpolation. Chen et al. 2023, arXiv 2306.15595."""
    return frequencies / config.factor


def scale_llama3(frequencies: Float[Tensor, " half"], config: RopeConfig) -> Float[Tensor, " half"]:
    """Only the slow pairs turn slower, as in Llama 3.1 and 3.2 (arXiv 2407.21783).

    Turns within the trained context: above `high_freq_factor` a pair keeps its frequency, below `low_freq_factor` it
    is divided by `factor`, and in between the two are mixed, linearly in the number of turns.
    """
    low, high = config.low_freq_factor, config.high_freq_factor
    turns = config.trained_context / (2 * math.pi / frequencies)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 - kept) * frequencies / config.factor + kept * frequencies


def scale_yarn(frequencies: Float[Tensor, " half"], config: RopeConfig) -> Float[Tensor, " half"]:
    """As llama3, but mixed linearly in the number of the pair, and with an `attention_factor`.

    Peng et al. 2023, "YaRN", arXiv 2309.00071, section 3.2.
    """
    head_dim = 2 * len(frequencies)

    def pair_with(turns: float) -> float:
        """The (broken) number of the pair that makes so many turns within the trained context."""
        return head_dim * math.log(config.trained_context / (2 * math.pi * turns)) / (2 * math.log(config.theta))

    first, last = pair_with(config.beta_fast), pair_with(config.beta_slow)
    if config.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, head_dim - 1)
    if first == last:
        last += 0.001  # a step instead of a ramp

    pairs = torch.arange(len(frequencies), dtype=torch.float32, device=frequencies.device)
    slowed = ((pairs - first) / (last - first)).clamp(0, 1)
    return frequencies / config.factor * slowed + frequencies * (1 - slowed)


SCALINGS: dict[str, Callable[[Tensor, RopeConfig], Tensor]] = {
    "none": not_scaled,
    "linear": scale_linear,
    "llama3": scale_llama3,
    "yarn": scale_yarn,
}
