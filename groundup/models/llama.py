"""Llama: Touvron et al. 2023, arXiv 2302.13971 and 2307.09288; Llama 3: arXiv 2407.21783. SmolLM2 has the same shape.

    ids ─ tok_embed ─ n_layers × Block ─ final_norm ─ lm_head ─ logits

Where it differs from GPT-2: positions turn queries and keys (RoPE) instead of being added to the input, RMSNorm takes
the place of LayerNorm and SwiGLU that of the MLP, there are no biases, and several query heads may share one
key-value head.
Read it from the leaf to the whole: Block, Model, PRESETS.
"""

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from groundup.layers.attention import Attention
from groundup.layers.decoder import Decoder, PreNormBlock, check_shape, fill_in
from groundup.layers.embedding import Embedding
from groundup.layers.feed_forward import SwiGLU, hidden_size
from groundup.layers.initialise import initialise
from groundup.layers.kernels import Kernels
from groundup.layers.linear import Linear
from groundup.layers.norms import RMSNorm
from groundup.layers.rope import RoPE, RopeConfig


@dataclass(frozen=True, kw_only=True)
class Config:
    """The shape of a Llama. The defaults are a small one, 14M parameters, for a laptop."""

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
    """0 means Meta's rule: 8/3 · d_model, rounded up to a multiple of 64."""
    norm_eps: float = 1e-5
    dropout: float = 0.0
    """Of the embeddings, the attention weights and both outputs of a block; only in training. For small texts that
    are seen many times."""
    tie_embeddings: bool = True
    """Whether the output head is the embedding table."""
    rope: RopeConfig = field(default_factory=RopeConfig)

    def __post_init__(self):
        head_dim = self.d_model // max(1, self.n_heads)
        fill_in(self, n_kv_heads=self.n_heads, head_dim=head_dim, d_ff=hidden_size(self.d_model))
        check_shape(self)
        if self.d_model % self.n_heads:  # whatever head_dim is: transformers refuses such a Llama
            raise ValueError(f"n_heads is {self.n_heads}; valid values divide d_model, which is {self.d_model}")


class Block(PreNormBlock):
    """x + attention(norm(x)), then x + mlp(norm(x)): both halves read the residual stream and add to it."""

    def __init__(self, config: Config, layer: int, kernels: Kernels):
        super().__init__(config.dropout, kernels)
        c = config
        self.attn_norm = RMSNorm(c.d_model, c.norm_eps, kernels)
        self.attn = Attention(
            c.d_model, c.n_heads, c.n_kv_heads, c.head_dim, dropout=c.dropout, kernels=kernels, layer=layer
        )
        self.mlp_norm = RMSNorm(c.d_model, c.norm_eps, kernels)
        self.mlp = SwiGLU(c.d_model, c.d_ff, kernels=kernels)


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
    mlp = 3 * c.d_model * c.d_ff
    norm = c.d_model
    matrices = 1 if c.tie_embeddings else 2
    return matrices * c.vocab_size * c.d_model + c.n_layers * (attention + mlp + 2 * norm) + norm


def _llama2(n_layers: int, d_model: int, n_heads: int, d_ff: int, n_kv_heads: int = 0) -> Config:
    return Config(
        vocab_size=32000, context_length=4096, tie_embeddings=False,
        n_layers=n_layers, d_model=d_model, n_heads=n_heads, n_kv_heads=n_kv_heads, d_ff=d_ff,
    )  # fmt: skip


def _llama3(n_layers: int, d_model: int, n_heads: int, d_ff: int, stretched: int = 1) -> Config:
    """Llama 3, trained on 8192 positions, or stretched from there: 3.1 by 8, 3.2 by 32 with a head that is tied."""
    scaled = {"scaling": "llama3", "factor": float(stretched), "trained_context": 8192} if stretched > 1 else {}
    return Config(
        vocab_size=128256, context_length=8192 if stretched == 1 else 131072, tie_embeddings=stretched == 32,
        n_layers=n_layers, d_model=d_model, n_heads=n_heads, n_kv_heads=8, d_ff=d_ff,
        rope=RopeConfig(theta=500_000.0, **scaled),
    )  # fmt: skip


def _smollm2(n_layers: int, d_model: int, n_heads: int, n_kv_heads: int, d_ff: int, theta: float) -> Config:
    return Config(
        vocab_size=49152, context_length=8192,
        n_layers=n_layers, d_model=d_model, n_heads=n_heads, n_kv_heads=n_kv_heads, d_ff=d_ff,
        rope=RopeConfig(theta=theta),
    )  # fmt: skip


PRESETS: dict[str, Config] = {
    # For a laptop and a small vocabulary of one's own: 0.7M, 1.4M, 5.5M, 14M, 37M, 79M and 181M parameters.
    "nano": Config(context_length=256, n_layers=3, d_model=96, n_heads=3),
    "micro": Config(context_length=256, n_layers=4, d_model=128, n_heads=2),
    "mini": Config(context_length=512, n_layers=6, d_model=256, n_heads=4, n_kv_heads=2),
    "small": Config(context_length=512, n_layers=8, d_model=384, n_heads=6, n_kv_heads=2),
    "medium": Config(context_length=1024, n_layers=12, d_model=512, n_heads=8, n_kv_heads=4),
    "large": Config(context_length=1024, n_layers=12, d_model=768, n_heads=12, n_kv_heads=4),
    "xl": Config(context_length=1024, n_layers=16, d_model=1024, n_heads=16, n_kv_heads=4),
    # A Llama 2 of 131.0M parameters with a vocabulary of 30,000, and one for Chinese and English with 6144.
    "130m": Config(
        vocab_size=30000, context_length=1024, n_layers=12, d_model=768, n_heads=12, d_ff=2048, tie_embeddings=False
    ),
    "215m": Config(vocab_size=6144, context_length=512, n_layers=18, d_model=1024, n_heads=16, n_kv_heads=8),
    # As published: llama2.c's for short stories, SmolLM2, and Meta's.
    "stories15m": Config(vocab_size=32000, context_length=256, n_layers=6, d_model=288, n_heads=6, d_ff=768),
    "stories42m": Config(vocab_size=32000, context_length=1024, n_layers=8, d_model=512, n_heads=8, d_ff=1376),
    "stories110m": Config(vocab_size=32000, context_length=1024, n_layers=12, d_model=768, n_heads=12, d_ff=2048),
    "smollm2-135m": _smollm2(n_layers=30, d_model=576, n_heads=9, n_kv_heads=3, d_ff=1536, theta=100_000.0),
    "smollm2-360m": _smollm2(n_layers=32, d_model=960, n_heads=15, n_kv_heads=5, d_ff=2560, theta=100_000.0),
    "smollm2-1.7b": _smollm2(n_layers=24, d_model=2048, n_heads=32, n_kv_heads=32, d_ff=8192, theta=130_000.0),
    "llama2-7b": _llama2(n_layers=32, d_model=4096, n_heads=32, d_ff=11008),
    "llama2-13b": _llama2(n_layers=40, d_model=5120, n_heads=40, d_ff=13824),
    "llama2-70b": _llama2(n_layers=80, d_model=8192, n_heads=64, d_ff=28672, n_kv_heads=8),
    "llama3-8b": _llama3(n_layers=32, d_model=4096, n_heads=32, d_ff=14336),
    "llama3-70b": _llama3(n_layers=80, d_model=8192, n_heads=64, d_ff=28672),
    "llama3.1-8b": _llama3(n_layers=32, d_model=4096, n_heads=32, d_ff=14336, stretched=8),
    "llama3.1-70b": _llama3(n_layers=80, d_model=8192, n_heads=64, d_ff=28672, stretched=8),
    "llama3.1-405b": _llama3(n_layers=126, d_model=16384, n_heads=128, d_ff=53248, stretched=8),
    "llama3.2-1b": _llama3(n_layers=16, d_model=2048, n_heads=32, d_ff=8192, stretched=32),
    "llama3.2-3b": _llama3(n_layers=28, d_model=3072, n_heads=24, d_ff=8192, stretched=32),
}
ALIASES = {
    **{size.replace("llama", "llama-"): size for size in PRESETS if size.startswith("llama")},
    **{size.replace("llama", "meta-llama-"): size for size in PRESETS if size.startswith("llama3")},
}
"""The names of the published folders: "Llama-3.2-1B", "Meta-Llama-3-8B"."""


# --- Elsewhere: theirs -> ours, "{}" is the number of the block ---

GGUF_ARCHITECTURE = "llama"
HF_ARCHITECTURE = "LlamaForCausalLM"
HF_TRANSPOSED: tuple[str, ...] = ()
HF_MODULES = {
    "model.embed_tokens": "tok_embed",
    "model.layers.{}.input_layernorm": "blocks.{}.attn_norm",
    "model.layers.{}.self_attn.q_proj": "blocks.{}.attn.q_proj",
    "model.layers.{}.self_attn.k_proj": "blocks.{}.attn.k_proj",
    "model.layers.{}.self_attn.v_proj": "blocks.{}.attn.v_proj",
    "model.layers.{}.self_attn.o_proj": "blocks.{}.attn.o_proj",
    "model.layers.{}.post_attention_layernorm": "blocks.{}.mlp_norm",
    "model.layers.{}.mlp.gate_proj": "blocks.{}.mlp.gate_proj",
    "model.layers.{}.mlp.up_proj": "blocks.{}.mlp.up_proj",
    "model.layers.{}.mlp.down_proj": "blocks.{}.mlp.down_proj",
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
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": config.dropout,
    }


def from_hf_config(settings: Any) -> Config:
    settings.must_be("hidden_act", "silu")
    settings.must_be("attention_bias", False)
    settings.must_be("mlp_bias", False)
    return Config(
        vocab_size=settings.read("vocab_size", int),
        context_length=settings.read("max_position_embeddings", int),
        n_layers=settings.read("num_hidden_layers", int),
        d_model=settings.read("hidden_size", int),
        n_heads=settings.read("num_attention_heads", int),
        n_kv_heads=settings.read("num_key_value_heads", int, 0),
        head_dim=settings.read("head_dim", int, 0),
        d_ff=settings.read("intermediate_size", int),
        norm_eps=settings.read("rms_norm_eps", float, 1e-6),
        dropout=settings.read("attention_dropout", float, 0.0),
        tie_embeddings=settings.read("tie_word_embeddings", bool, False),
        rope=settings.rope(),
    )
