"""GPT-2: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners".

    ids ─ tok_embed + pos_embed ─ n_layers × Block ─ final_norm ─ lm_head ─ logits

Positions are learned vectors, so nothing beyond `context_length` exists. LayerNorm before each half of a block, biases
everywhere, GELU in its tanh form, and an output head that is the embedding table again (tied).
Read it from the leaf to the whole: Block, Model, PRESETS.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from groundup.layers.attention import Attention
from groundup.layers.cache import KVCache
from groundup.layers.embedding import Embedding
from groundup.layers.feed_forward import MLP
from groundup.layers.initialise import initialise
from groundup.layers.kernels import Kernels
from groundup.layers.linear import Linear
from groundup.layers.norms import LayerNorm


@dataclass(frozen=True, kw_only=True)
class Config:
    """The shape of a GPT-2. The defaults are the smallest published one, 124M."""

    vocab_size: int = 50257
    context_length: int = 1024
    n_layers: int = 12
    d_model: int = 768
    n_heads: int = 12
    d_ff: int = 0
    """0 means 4 · d_model."""
    norm_eps: float = 1e-5
    dropout: float = 0.1
    """Of the embeddings, the attention weights and both outputs of a block; only in training. Use 0 when every
    document is seen once."""
    tie_embeddings: bool = True
    """Whether the output head is the embedding table."""

    def __post_init__(self):
        # A frozen dataclass has no other way to fill in a default that depends on another field.
        object.__setattr__(self, "d_ff", self.d_ff or 4 * self.d_model)

        for name in ("vocab_size", "context_length", "n_layers", "d_model", "n_heads", "d_ff"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; valid values are whole numbers from 1")
        if self.d_model % self.n_heads:
            raise ValueError(f"n_heads is {self.n_heads}; valid values divide d_model, which is {self.d_model}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; valid values are from 0 up to, not including, 1")
        if not 0 < self.norm_eps < 1:
            raise ValueError(f"norm_eps is {self.norm_eps}; valid values are between 0 and 1, such as 1e-5")

    @property
    def n_kv_heads(self) -> int:
        return self.n_heads

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_heads


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): both halves read the residual stream and add to it."""

    def __init__(self, config: Config, layer: int, kernels: Kernels):
        super().__init__()
        c = config
        self.attn_norm = LayerNorm(c.d_model, c.norm_eps, kernels=kernels)
        self.attn = Attention(c.d_model, c.n_heads, bias=True, dropout=c.dropout, kernels=kernels, layer=layer)
        self.mlp_norm = LayerNorm(c.d_model, c.norm_eps, kernels=kernels)
        self.mlp = MLP(c.d_model, c.d_ff, kernels=kernels)
        self.dropout = c.dropout

    def forward(
        self, x: Float[Tensor, "B T d_model"], mask: Tensor | None = None, cache: KVCache | None = None
    ) -> Float[Tensor, "B T d_model"]:
        x = x + F.dropout(self.attn(self.attn_norm(x), mask, cache=cache), self.dropout, self.training)
        return x + F.dropout(self.mlp(self.mlp_norm(x)), self.dropout, self.training)


class Model(nn.Module):
    """ids (B, T) -> logits (B, T, vocab_size)."""

    def __init__(self, config: Config, kernels: Kernels = "fused"):
        super().__init__()
        self.config = config
        self.tok_embed = Embedding(config.vocab_size, config.d_model)
        self.pos_embed = Embedding(config.context_length, config.d_model)
        self.blocks = nn.ModuleList(Block(config, layer, kernels) for layer in range(config.n_layers))
        self.final_norm = LayerNorm(config.d_model, config.norm_eps, kernels=kernels)
        self.lm_head = None if config.tie_embeddings else Linear(config.d_model, config.vocab_size)
        initialise(self)

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
        return self.hidden(ids, cache=cache, positions=positions, mask=mask) @ self.lm_head_weight.T

    def hidden(
        self,
        ids: Int[Tensor, "B T"],
        *,
        cache: KVCache | None = None,
        positions: Int[Tensor, "#B T"] | None = None,
        mask: Bool[Tensor, "#B 1 #T S"] | None = None,
    ) -> Float[Tensor, "B T d_model"]:
        """The final, normed states: what the output head reads."""
        start = 0 if cache is None else cache.length
        if positions is None:
            end, context_length = start + ids.shape[1], self.config.context_length
            if end > context_length:
                raise ValueError(f"{end} positions were asked of a GPT-2 with a context_length of {context_length}")
            positions = torch.arange(start, end, device=ids.device)[None]

        x = self.tok_embed(ids) + self.pos_embed(positions)
        x = F.dropout(x, self.config.dropout, self.training)
        for block in self.blocks:
            x = block(x, mask, cache)
        return self.final_norm(x)

    @property
    def lm_head_weight(self) -> Float[Tensor, "vocab_size d_model"]:
        return self.tok_embed.weight if self.lm_head is None else self.lm_head.weight

    def new_cache(self, batch_size: int, max_length: int, dtype: torch.dtype | None = None) -> KVCache:
        """An empty cache of this model's shape, on its device; in its dtype, unless another is named."""
        c, weight = self.config, self.tok_embed.weight
        shape = (c.n_layers, batch_size, c.n_kv_heads, c.head_dim, max_length)
        return KVCache(*shape, dtype=dtype or weight.dtype, device=weight.device)


def count_parameters(config: Config) -> int:
    """The number of parameters, without building the model."""
    c = config
    attention = 4 * (c.d_model * c.d_model + c.d_model)
    mlp = 2 * c.d_model * c.d_ff + c.d_ff + c.d_model
    norm = 2 * c.d_model
    embeddings = (c.vocab_size + c.context_length) * c.d_model
    lm_head = 0 if c.tie_embeddings else c.vocab_size * c.d_model
    return embeddings + c.n_layers * (attention + mlp + 2 * norm) + norm + lm_head


PRESETS: dict[str, Config] = {
    # For a laptop and a small vocabulary of one's own.
    "nano": Config(vocab_size=4096, context_length=256, n_layers=3, d_model=96, n_heads=3, dropout=0.0),
    "micro": Config(vocab_size=4096, context_length=256, n_layers=4, d_model=128, n_heads=2, dropout=0.0),
    "mini": Config(vocab_size=4096, context_length=512, n_layers=6, d_model=256, n_heads=4, dropout=0.0),
    "small": Config(vocab_size=4096, context_length=512, n_layers=8, d_model=384, n_heads=6, dropout=0.0),
    # As published.
    "124m": Config(),
    "355m": Config(n_layers=24, d_model=1024, n_heads=16),
    "774m": Config(n_layers=36, d_model=1280, n_heads=20),
    "1558m": Config(n_layers=48, d_model=1600, n_heads=25),
}


# --- In Hugging Face's terms: theirs -> ours, "{}" is the number of the block; three of ours are fused in `c_attn` ---

HF_ARCHITECTURE = "GPT2LMHeadModel"
HF_TRANSPOSED: tuple[str, ...] = ("c_attn", "c_proj", "c_fc")
HF_MODULES = {
    "transformer.wte": "tok_embed",
    "transformer.wpe": "pos_embed",
    "transformer.h.{}.ln_1": "blocks.{}.attn_norm",
    "transformer.h.{}.attn.c_attn": "blocks.{}.attn.q_proj blocks.{}.attn.k_proj blocks.{}.attn.v_proj",
    "transformer.h.{}.attn.c_proj": "blocks.{}.attn.o_proj",
    "transformer.h.{}.ln_2": "blocks.{}.mlp_norm",
    "transformer.h.{}.mlp.c_fc": "blocks.{}.mlp.up_proj",
    "transformer.h.{}.mlp.c_proj": "blocks.{}.mlp.down_proj",
    "transformer.ln_f": "final_norm",
    "lm_head": "lm_head",
}


def to_hf_config(config: Config) -> dict[str, Any]:
    return {
        "n_positions": config.context_length,
        "n_layer": config.n_layers,
        "n_embd": config.d_model,
        "n_head": config.n_heads,
        "n_inner": config.d_ff,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": "gelu_new",
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
    }


def from_hf_config(settings: Any) -> Config:
    settings.must_be("activation_function", "gelu_new", "gelu_pytorch_tanh")
    settings.must_be("scale_attn_weights", True)
    settings.must_be("scale_attn_by_inverse_layer_idx", False)
    settings.must_be("add_cross_attention", False)
    return Config(
        vocab_size=settings.read("vocab_size", int),
        context_length=settings.read("n_positions", int),
        n_layers=settings.read("n_layer", int),
        d_model=settings.read("n_embd", int),
        n_heads=settings.read("n_head", int),
        d_ff=settings.read("n_inner", int, 0),
        norm_eps=settings.read("layer_norm_epsilon", float, 1e-5),
        dropout=settings.read("resid_pdrop", float, 0.1),
        tie_embeddings=settings.read("tie_word_embeddings", bool, True),
    )
