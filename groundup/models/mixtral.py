"""Mixtral: Jiang et al. 2024, arXiv 2401.04088. A Llama with a mixture of experts.

    ids ─ tok_embed ─ n_layers × Block ─ final_norm ─ lm_head ─ logits

In place of one SwiGLU a block has several, and a router chooses for each position the few that compute: the memory of
a large model at the cost of a small one. Attention may be limited to a window of positions, as in Mistral.
Read it from the leaf to the whole: Block, Model, PRESETS.
"""

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from groundup.layers.attention import Attention
from groundup.layers.decoder import Decoder, PreNormBlock, check_shape, fill_in
from groundup.layers.embedding import Embedding
from groundup.layers.feed_forward import MixtureOfExperts, hidden_size
from groundup.layers.initialise import initialise
from groundup.layers.kernels import Kernels
from groundup.layers.linear import Linear
from groundup.layers.norms import RMSNorm
from groundup.layers.rope import RoPE, RopeConfig


@dataclass(frozen=True, kw_only=True)
class Config:
    """The shape of a Mixtral. The defaults are a small one for a laptop, 44M parameters of which each id uses 16M."""

    vocab_size: int = 4096
    context_length: int = 512
    n_layers: int = 8
    d_model: int = 384
    n_heads: int = 6
    n_kv_heads: int = 0
    """0 means n_heads. Fewer of them make the KV cache smaller, at little loss."""
    head_dim: int = 0
    """0 means d_model / n_heads."""
    d_ff: int = 0
    """Of each expert. 0 means half of Meta's rule for a SwiGLU, so that two experts cost what it costs."""
    n_experts: int = 8
    n_active: int = 2
    """Experts that compute for a position."""
    window: int = 0
    """How many positions attention reaches back, itself included; 0 means all."""
    norm_eps: float = 1e-5
    dropout: float = 0.0
    """Of the embeddings, the attention weights and both outputs of a block; only in training. For small texts that
    are seen many times."""
    tie_embeddings: bool = True
    """Whether the output head is the embedding table."""
    rope: RopeConfig = field(default_factory=lambda: RopeConfig(theta=1_000_000.0))

    def __post_init__(self):
        head_dim = self.d_model // max(1, self.n_heads)
        fill_in(self, n_kv_heads=self.n_heads, head_dim=head_dim, d_ff=hidden_size(self.d_model, multiplier=0.5))
        check_shape(self)
        if self.n_experts < 1:
            raise ValueError(f"n_experts is {self.n_experts}; valid values are whole numbers from 1")
        if not 1 <= self.n_active <= self.n_experts:
            raise ValueError(f"n_active is {self.n_active}; valid values are from 1 to n_experts, {self.n_experts}")
        if self.window < 0:
            raise ValueError(f"window is {self.window}; valid values are whole numbers from 1, and 0 for no window")


class Block(PreNormBlock):
    """x + attention(norm(x)), then x + experts(norm(x)): both halves read the residual stream and add to it."""

    def __init__(self, config: Config, layer: int, kernels: Kernels):
        super().__init__(config.dropout, kernels)
        c = config
        self.attn_norm = RMSNorm(c.d_model, c.norm_eps, kernels)
        self.attn = Attention(
            c.d_model, c.n_heads, c.n_kv_heads, c.head_dim,
            window=c.window or None, dropout=c.dropout, kernels=kernels, layer=layer,
        )  # fmt: skip
        self.mlp_norm = RMSNorm(c.d_model, c.norm_eps, kernels)
        self.mlp = MixtureOfExperts(c.d_model, c.d_ff, c.n_experts, c.n_active, kernels)


class Model(Decoder):
    """ids (B, T) -> logits (B, T, vocab_size)."""

    def __init__(self, config: Config, kernels: Kernels = "fused"):
        super().__init__(kernels)
        self.config = config
        self.rope = RoPE(config.head_dim, config.rope)
        self.tok_embed = Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(Block(config, layer, kernels) for layer in range(config.n_layers))
        self.final_norm = RMSNorm(config.d_model, config.norm_eps, kernels)
        self.lm_head = None if config.tie_embeddings else Linear(config.d_model, config.vocab_size)
        initialise(self)


def count_parameters(config: Config) -> int:
    """The number of parameters, without building the model."""
    c = config
    attention = 2 * c.d_model * (c.n_heads + c.n_kv_heads) * c.head_dim
    mlp = c.n_experts * (3 * c.d_model * c.d_ff + c.d_model)
    norm = c.d_model
    matrices = 1 if c.tie_embeddings else 2
    return matrices * c.vocab_size * c.d_model + c.n_layers * (attention + mlp + 2 * norm) + norm


PRESETS: dict[str, Config] = {
    # For a laptop and a small vocabulary of one's own: 0.9M, 2.0M, 16M and 42M parameters.
    "nano": Config(context_length=256, n_layers=3, d_model=96, n_heads=3, n_experts=4),
    "micro": Config(context_length=256, n_layers=4, d_model=128, n_heads=2, n_experts=4),
    "mini": Config(context_length=512, n_layers=6, d_model=256, n_heads=4, n_kv_heads=2),
    "small": Config(context_length=512, n_layers=8, d_model=384, n_heads=6, n_kv_heads=2),
    # As published.
    "8x7b": Config(
        vocab_size=32000, context_length=32768, n_layers=32, d_model=4096, n_heads=32, n_kv_heads=8, d_ff=14336,
        tie_embeddings=False,
    ),
    "8x22b": Config(
        vocab_size=32000, context_length=65536, n_layers=56, d_model=6144, n_heads=48, n_kv_heads=8, d_ff=16384,
        tie_embeddings=False,
    ),
}  # fmt: skip
ALIASES = {
    "8x7b-v0.1": "8x7b", "8x7b-instruct-v0.1": "8x7b", "8x22b-v0.1": "8x22b",
}  # fmt: skip


# --- Elsewhere: theirs -> ours, the first "{}" is the number of the block, the second that of the expert ---

GGUF_ARCHITECTURE = "llama"
HF_ARCHITECTURE = "MixtralForCausalLM"
HF_TRANSPOSED: tuple[str, ...] = ()
HF_MODULES = {
    "model.embed_tokens": "tok_embed",
    "model.layers.{}.input_layernorm": "blocks.{}.attn_norm",
    "model.layers.{}.self_attn.q_proj": "blocks.{}.attn.q_proj",
    "model.layers.{}.self_attn.k_proj": "blocks.{}.attn.k_proj",
    "model.layers.{}.self_attn.v_proj": "blocks.{}.attn.v_proj",
    "model.layers.{}.self_attn.o_proj": "blocks.{}.attn.o_proj",
    "model.layers.{}.post_attention_layernorm": "blocks.{}.mlp_norm",
    "model.layers.{}.block_sparse_moe.gate": "blocks.{}.mlp.router",
    "model.layers.{}.block_sparse_moe.experts.{}.w1": "blocks.{}.mlp.experts.{}.gate_proj",
    "model.layers.{}.block_sparse_moe.experts.{}.w3": "blocks.{}.mlp.experts.{}.up_proj",
    "model.layers.{}.block_sparse_moe.experts.{}.w2": "blocks.{}.mlp.experts.{}.down_proj",
    "model.norm": "final_norm",
    "lm_head": "lm_head",
}


def to_hf_config(config: Config) -> dict[str, Any]:
    return {
        "max_position_embeddings": config.context_length,
        "num_hidden_layers": config.n_layers,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "rms_norm_eps": config.norm_eps,
        "hidden_act": "silu",
        "num_local_experts": config.n_experts,
        "num_experts_per_tok": config.n_active,
        "sliding_window": config.window or None,
        "attention_dropout": config.dropout,
    }


def from_hf_config(settings: Any) -> Config:
    settings.must_be("hidden_act", "silu")
    return Config(
        vocab_size=settings.read("vocab_size", int),
        context_length=settings.read("max_position_embeddings", int),
        n_layers=settings.read("num_hidden_layers", int),
        d_model=settings.read("hidden_size", int),
        n_heads=settings.read("num_attention_heads", int),
        n_kv_heads=settings.read("num_key_value_heads", int, 0),
        head_dim=settings.read("head_dim", int, 0),
        d_ff=settings.read("intermediate_size", int),
        n_experts=settings.read("num_local_experts", int, 8),
        n_active=settings.read("num_experts_per_tok", int, 2),
        window=settings.read("sliding_window", int, 0),
        norm_eps=settings.read("rms_norm_eps", float, 1e-5),
        dropout=settings.read("attention_dropout", float, 0.0),
        tie_embeddings=settings.read("tie_word_embeddings", bool, False),
        rope=settings.rope(theta=1_000_000.0),
    )
