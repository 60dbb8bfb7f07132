"""GPT-2: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners".

    ids ─ tok_embed + pos_embed ─ n_layers × Block ─ final_norm ─ lm_head ─ logits

Positions are learned vectors, so nothing beyond `context_length` exists. LayerNorm before each half of a block, biases
everywhere, GELU in its tanh form, and an output head that is the embedding table again (tied).
Read it from the leaf to the whole: Block, Model, PRESETS.
"""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from groundup.layers.attention import Attention
from groundup.layers.cache import KVCache
from groundup.layers.decoder import Decoder, PreNormBlock, check_shape, fill_in
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
    activation: str = "gelu_tanh"
    """Or "gelu", the exact form, which nanoGPT's models were trained with."""
    norm_eps: float = 1e-5
    dropout: float = 0.1
    """Of the embeddings, the attention weights and both outputs of a block; only in training. Use 0 when every
    document is seen once."""
    tie_embeddings: bool = True
    """Whether the output head is the embedding table."""

    def __post_init__(self):
        fill_in(self, d_ff=4 * self.d_model)
        check_shape(self)
        if self.activation not in ("gelu_tanh", "gelu"):
            raise ValueError(f"activation is {self.activation!r}; valid values are gelu_tanh, gelu")

    @property
    def n_kv_heads(self) -> int:
        return self.n_heads

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_heads


class Block(PreNormBlock):
    """x + attention(norm(x)), then x + mlp(norm(x)): both halves read the residual stream and add to it."""

    def __init__(self, config: Config, layer: int, kernels: Kernels):
        super().__init__(config.dropout, kernels)
        c = config
        self.attn_norm = LayerNorm(c.d_model, c.norm_eps, kernels=kernels)
        self.attn = Attention(c.d_model, c.n_heads, bias=True, dropout=c.dropout, kernels=kernels, layer=layer)
        self.mlp_norm = LayerNorm(c.d_model, c.norm_eps, kernels=kernels)
        self.mlp = MLP(c.d_model, c.d_ff, kernels=kernels, activation=c.activation)


class Model(Decoder):
    """ids (B, T) -> logits (B, T, vocab_size). Its positions are learned, and end where `context_length` does."""

    def __init__(self, config: Config, kernels: Kernels = "fused"):
        super().__init__(kernels)
        self.config = config
        self.tok_embed = Embedding(config.vocab_size, config.d_model)
        self.pos_embed = Embedding(config.context_length, config.d_model)
        self.blocks = nn.ModuleList(Block(config, layer, kernels) for layer in range(config.n_layers))
        self.final_norm = LayerNorm(config.d_model, config.norm_eps, kernels=kernels)
        self.lm_head = None if config.tie_embeddings else Linear(config.d_model, config.vocab_size)
        initialise(self)

    def embed(
        self, ids: Int[Tensor, "B T"], positions: Int[Tensor, "#B T"], cache: KVCache | None
    ) -> Float[Tensor, "B T d_model"]:
        return self.tok_embed(ids) + self.pos_embed(positions)

    def past_the_end(self, end: int) -> None:
        context_length = self.config.context_length
        raise ValueError(f"{end} positions were asked of a GPT-2 with a context_length of {context_length}")


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
    # For a laptop and a small vocabulary of one's own: 0.8M, 1.4M, 5.9M and 16M parameters.
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


ALIASES = {
    "gpt2": "124m", "medium": "355m", "large": "774m", "xl": "1558m", "117m": "124m", "345m": "355m", "1.5b": "1558m",
}  # fmt: skip
"""117M, 345M and 1.5B are what OpenAI called them at first; 117M and 345M were counted wrongly."""


# --- Elsewhere: theirs -> ours, "{}" is the number of the block; three of ours are fused in `c_attn` ---

GGUF_ARCHITECTURE = "gpt2"
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
        "n_ctx": config.context_length,  # llama.cpp's converter asks for the old name
        "n_layer": config.n_layers,
        "n_embd": config.d_model,
        "n_head": config.n_heads,
        "n_inner": config.d_ff,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": "gelu" if config.activation == "gelu" else "gelu_new",
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
    }


def from_hf_config(settings: Any) -> Config:
    settings.must_be("activation_function", "gelu_new", "gelu_pytorch_tanh", "gelu")
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
        activation="gelu" if settings.read("activation_function", str, "gelu_new") == "gelu" else "gelu_tanh",
        norm_eps=settings.read("layer_norm_epsilon", float, 1e-5),
        dropout=settings.read("resid_pdrop", float, 0.1),
        tie_embeddings=settings.read("tie_word_embeddings", bool, True),
    )
