"""Decoder: what all architectures of models/ share, said once. Ids go in, a score for each possible next id comes out.

    ids ─ embed ─ blocks[0] ─ ... ─ blocks[-1] ─ final_norm ─ hidden ─ lm_head ─ logits
                     └────── the residual stream ──────┘

A family's file says what its Config, its Block and the parts of its Model are, and overrides what is its own: `embed`
where more than an id's own vector goes in, `past_the_end` where positions are learned and end.
"""

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from groundup.layers.attention import Attention
from groundup.layers.cache import KVCache
from groundup.layers.dropout import dropout
from groundup.layers.embedding import Embedding
from groundup.layers.kernels import Kernels
from groundup.layers.linear import Linear
from groundup.layers.rope import RoPE, Rotation


class Decoder(nn.Module):
    """ids (B, T) -> logits (B, T, vocab_size).

    A subclass sets the attributes named here. Its blocks are called as block(x, rotation=, mask=, cache=), with x of
    shape (B, T, d_model); `rotation` is None in a model without `rope`.
    """

    config: Any
    tok_embed: Embedding
    blocks: nn.ModuleList
    final_norm: nn.Module
    lm_head: Linear | None
    """None ties the head to `tok_embed`."""
    rope: RoPE | None = None
    softcap: float = 0.0
    """Logits are bent so that none leaves [-softcap, softcap]; 0 leaves them as they are."""
    starting_std: ClassVar[Mapping[str, float]] = {}
    """Parameters that do not start as the table of initialise.py says: the end of their names, and their std."""

    def __init__(self, kernels: Kernels = "fused"):
        super().__init__()
        self.kernels: Kernels = kernels

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        *,
        cache: KVCache | None = None,
        positions: Int[Tensor, "#B T"] | None = None,
        mask: Bool[Tensor, "#B 1 #T S"] | None = None,
    ) -> Float[Tensor, "B T vocab_size"]:
        """Logits of the id that follows each position.

        With a `cache`, `ids` are the new ones only. `positions` count on from the cache where they are not given.
        `mask` None is causal; else true means attend, over the S = cache.length + T positions there then are.
        """
        return self.logits_of(self.hidden(ids, cache=cache, positions=positions, mask=mask))

    def hidden(
        self,
        ids: Int[Tensor, "B T"],
        *,
        cache: KVCache | None = None,
        positions: Int[Tensor, "#B T"] | None = None,
        mask: Bool[Tensor, "#B 1 #T S"] | None = None,
    ) -> Float[Tensor, "B T d_model"]:
        """The final, normed states: what the output head reads."""
        if positions is None:
            start = 0 if cache is None else cache.length
            end = start + ids.shape[1]
            if end > self.config.context_length:
                self.past_the_end(end)
            positions = torch.arange(start, end, device=ids.device)[None]

        x = dropout(self.embed(ids, positions, cache), self.config.dropout if self.training else 0.0, self.kernels)
        # The same for every block, so computed once; [:, None] makes room for the heads.
        rotation = None if self.rope is None else self.rope.rotation(positions[:, None], x.dtype)
        for block in self.blocks:
            x = block(x, rotation=rotation, mask=mask, cache=cache)
        return self.final_norm(x)

    def embed(
        self, ids: Int[Tensor, "B T"], positions: Int[Tensor, "#B T"], cache: KVCache | None
    ) -> Float[Tensor, "B T d_model"]:
        """What enters the residual stream. A cache still has the length it had before these ids."""
        return self.tok_embed(ids)

    def past_the_end(self, end: int) -> None:
        """Position `end` was reached by counting, and is beyond the context: here that is computed, with a warning."""
        context_length = self.config.context_length
        warnings.warn(f"position {end} is beyond the context_length of {context_length}", stacklevel=3)

    def logits_of(self, hidden: Float[Tensor, "... d_model"]) -> Float[Tensor, "... vocab_size"]:
        """The output head: what `forward` makes of `hidden`, for those who need it at some positions only."""
        logits = hidden @ self.lm_head_weight.T
        return self.softcap * torch.tanh(logits / self.softcap) if self.softcap else logits

    @property
    def lm_head_weight(self) -> Float[Tensor, "vocab_size d_model"]:
        return self.tok_embed.weight if self.lm_head is None else self.lm_head.weight

    def new_cache(self, batch_size: int, max_length: int, dtype: torch.dtype | None = None) -> KVCache:
        """An empty cache of this model's shape, on its device; in its dtype, unless another is named."""
        c, weight = self.config, self.tok_embed.weight
        shape = (c.n_layers, batch_size, c.n_kv_heads, c.head_dim, max_length)
        return KVCache(*shape, dtype=dtype or weight.dtype, device=weight.device)


class PreNormBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): both halves read the residual stream and add to it.

    A subclass sets the four parts named here. Xiong et al. 2020, arXiv 2002.04745.
    """

    attn_norm: nn.Module
    attn: Attention
    mlp_norm: nn.Module
    mlp: nn.Module

    def __init__(self, dropout: float, kernels: Kernels = "fused"):
        super().__init__()
        self.dropout = dropout
        self.kernels: Kernels = kernels

    def forward(
        self,
        x: Float[Tensor, "B T d_model"],
        rotation: Rotation | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T d_model"]:
        x = x + self.drop(self.attn(self.attn_norm(x), mask, rotation, cache))
        return x + self.drop(self.mlp(self.mlp_norm(x)))

    def drop(self, x: Float[Tensor, "B T d_model"]) -> Float[Tensor, "B T d_model"]:
        """Dropout of what a half adds to the stream, in training."""
        return dropout(x, self.dropout if self.training else 0.0, self.kernels)


def fill_in(config: Any, **by_rule: int) -> None:
    """Give a Config's fields that were left at 0 the values that a rule has for them, in its __post_init__."""
    for name, value in by_rule.items():
        if not getattr(config, name):
            object.__setattr__(config, name, value)  # a frozen dataclass has no other way


def check_shape(config: Any) -> None:
    """ValueError with the name of the first field that no network can have, its value and the valid values.

    It knows the fields that families share, and looks at those that `config` has.
    """
    sizes = ("vocab_size", "context_length", "n_layers", "d_model", "n_heads", "n_kv_heads", "head_dim", "d_ff")
    for name in sizes:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; valid values are whole numbers from 1")
    if config.head_dim == config.d_model // config.n_heads and config.d_model % config.n_heads:
        raise ValueError(f"n_heads is {config.n_heads}; valid values divide d_model, which is {config.d_model}")
    if config.n_heads % config.n_kv_heads:
        raise ValueError(f"n_kv_heads is {config.n_kv_heads}; valid values divide n_heads, which is {config.n_heads}")
    if hasattr(config, "rope") and config.head_dim % 2:
        raise ValueError(f"head_dim is {config.head_dim}; valid values are even, because RoPE turns pairs")
    if not 0 <= config.dropout < 1:
        raise ValueError(f"dropout is {config.dropout}; valid values are from 0 up to, not including, 1")
    if not 0 < config.norm_eps < 1:
        raise ValueError(f"norm_eps is {config.norm_eps}; valid values are between 0 and 1, such as 1e-5")
