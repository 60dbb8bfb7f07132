"""Qwen2 and Qwen2.5: Yang et al. 2024, arXiv 2407.10671 and 2412.15115.

    ids ─ tok_embed ─ n_layers × Block ─ final_norm ─ lm_head ─ logits

A Llama whose queries, keys and values have biases, which was found to help with texts longer than those trained on.
Nothing else has one.
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
    """The shape of a Qwen2. The defaults are a small one, 14M parameters, for a laptop."""

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
    norm_eps: float = 1e-6
    dropout: float = 0.0
    """Of the embeddings, the attention weights and both outputs of a block; only in training. For small texts that
    are seen many times."""
    tie_embeddings: bool = True
    """Whether the output head is the embedding table."""
    rope: RopeConfig = field(default_factory=lambda: RopeConfig(theta=1_000_000.0))

    def __post_init__(self):
        head_dim = self.d_model // max(1, self.n_heads)
        fill_in(self, n_kv_heads=self.n_heads, head_dim=head_dim, d_ff=hidden_size(self.d_model))
        check_shape(self)


class Block(PreNormBlock):
    """x + attention(norm(x)), then x + mlp(norm(x)): both halves read the residual stream and add to it."""

    def __init__(self, config: Config, layer: int, kernels: Kernels):
        super().__init__(config.dropout, kernels)
        c = config
        self.attn_norm = RMSNorm(c.d_model, c.norm_eps, kernels)
        self.attn = Attention(
            c.d_model, c.n_heads, c.n_kv_heads, c.head_dim,
            bias=True, out_bias=False, dropout=c.dropout, kernels=kernels, layer=layer,
        )  # fmt: skip
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
    biases = (c.n_heads + 2 * c.n_kv_heads) * c.head_dim
    attention = 2 * c.d_model * (c.n_heads + c.n_kv_heads) * c.head_dim + biases
    mlp = 3 * c.d_model * c.d_ff
    norm = c.d_model
    matrices = 1 if c.tie_embeddings else 2
    return matrices * c.vocab_size * c.d_model + c.n_layers * (attention + mlp + 2 * norm) + norm


def _qwen(n_layers: int, d_model: int, n_heads: int, n_kv_heads: int, d_ff: int, **others: Any) -> Config:
    return Config(
        vocab_size=others.pop("vocab_size", 151936), context_length=32768,
        n_layers=n_layers, d_model=d_model, n_heads=n_heads, n_kv_heads=n_kv_heads, d_ff=d_ff, **others,
    )  # fmt: skip


PRESETS: dict[str, Config] = {
    # For a laptop and a small vocabulary of one's own: 0.7M, 1.4M, 5.5M and 14M parameters.
    "nano": Config(context_length=256, n_layers=3, d_model=96, n_heads=3),
    "micro": Config(context_length=256, n_layers=4, d_model=128, n_heads=2),
    "mini": Config(context_length=512, n_layers=6, d_model=256, n_heads=4, n_kv_heads=2),
    "small": Config(context_length=512, n_layers=8, d_model=384, n_heads=6, n_kv_heads=2),
    # As published, with the context of the models that are tuned for chat. The 3B there is of 2.5 only.
    "0.5b": _qwen(n_layers=24, d_model=896, n_heads=14, n_kv_heads=2, d_ff=4864),
    "1.5b": _qwen(n_layers=28, d_model=1536, n_heads=12, n_kv_heads=2, d_ff=8960),
    "3b": _qwen(n_layers=36, d_model=2048, n_heads=16, n_kv_heads=2, d_ff=11008),
    "7b": _qwen(
        n_layers=28, d_model=3584, n_heads=28, n_kv_heads=4, d_ff=18944, vocab_size=152064, tie_embeddings=False
    ),
}
ALIASES = {f"qwen2.5-{size}": size for size in ("0.5b", "1.5b", "3b", "7b")}


# --- Elsewhere: theirs -> ours, "{}" is the number of the block ---

GGUF_ARCHITECTURE = "qwen2"
HF_ARCHITECTURE = "Qwen2ForCausalLM"
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
        "use_sliding_window": False,
        "attention_dropout": config.dropout,
    }


def from_hf_config(settings: Any) -> Config:
    n_layers = settings.read("num_hidden_layers", int)
    settings.must_be("hidden_act", "silu")
    settings.must_be("use_sliding_window", False)
    settings.must_be("use_mrope", False)
    # At most a thousand: a file may claim any number of layers.
    settings.must_be("layer_types", None, ["full_attention"] * min(n_layers, 1000))
    settings.ignore("sliding_window", "max_window_layers")  # without a window they say nothing
    return Config(
        vocab_size=settings.read("vocab_size", int),
        context_length=settings.read("max_position_embeddings", int),
        n_layers=n_layers,
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
