"""lab: the parts of a decoder by name, to change one and see what it does. For ablations and the course.

    norm        rms, layer
    activation  swiglu, silu, gelu, gelu_tanh, relu_squared
    attention   mha, gqa, mqa: as many key-value heads as query heads, half as many, one
    position    rope, learned, none
    norm_place  pre:  x + f(norm(x)), as all models since GPT-2
                post: norm(x + f(x)), as in Vaswani et al. 2017; harder to train when deep

Every combination trains; a test does each for five steps. No other family has such fields: there, a change of what is
computed is another file. Sources: layers/ names one for each part; Xiong et al. 2020, arXiv 2002.04745, for the place
of the norm; Kazemnejad et al. 2023, arXiv 2305.19466, for no positions at all.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from groundup.layers.activations import ACTIVATIONS
from groundup.layers.attention import Attention
from groundup.layers.cache import KVCache
from groundup.layers.decoder import Decoder, PreNormBlock, check_shape, fill_in
from groundup.layers.embedding import Embedding
from groundup.layers.feed_forward import MLP, SwiGLU, hidden_size
from groundup.layers.initialise import initialise
from groundup.layers.kernels import Kernels
from groundup.layers.linear import Linear
from groundup.layers.norms import LayerNorm, RMSNorm
from groundup.layers.rope import RoPE, RopeConfig, Rotation


@dataclass(frozen=True, kw_only=True)
class Config:
    """The shape of a lab model, and what it is made of. By default it computes what a Llama of 6M parameters does."""

    vocab_size: int = 4096
    context_length: int = 512
    n_layers: int = 6
    d_model: int = 256
    n_heads: int = 4
    d_ff: int = 0
    """0 means 8/3 · d_model for swiglu and 4 · d_model for the others, which is as many parameters."""
    norm: str = "rms"
    activation: str = "swiglu"
    attention: str = "mha"
    position: str = "rope"
    norm_place: str = "pre"
    norm_eps: float = 1e-5
    dropout: float = 0.0
    """Of the embeddings, the attention weights and both outputs of a block; only in training."""
    tie_embeddings: bool = True
    """Whether the output head is the embedding table."""
    rope: RopeConfig = field(default_factory=RopeConfig)
    """Read where `position` is "rope"."""

    def __post_init__(self):
        for name, valid in CHOICES.items():
            if getattr(self, name) not in valid:
                raise ValueError(f"{name} is {getattr(self, name)!r}; valid values are {', '.join(valid)}")
        fill_in(self, d_ff=hidden_size(self.d_model) if self.activation == "swiglu" else 4 * self.d_model)
        check_shape(self)

    @property
    def n_kv_heads(self) -> int:
        return ATTENTIONS[self.attention](self.n_heads)

    @property
    def head_dim(self) -> int:
        return self.d_model // max(1, self.n_heads)


class Block(PreNormBlock):
    """Attention and the feed-forward, each with its norm before it or after it."""

    def __init__(self, config: Config, layer: int, kernels: Kernels):
        super().__init__(config.dropout, kernels)
        c = config
        self.attn_norm = NORMS[c.norm](c.d_model, c.norm_eps, kernels=kernels)
        self.attn = Attention(c.d_model, c.n_heads, c.n_kv_heads, dropout=c.dropout, kernels=kernels, layer=layer)
        self.mlp_norm = NORMS[c.norm](c.d_model, c.norm_eps, kernels=kernels)
        self.mlp = FEED_FORWARDS[c.activation](c.d_model, c.d_ff, kernels)
        self.norms_first = c.norm_place == "pre"

    def forward(
        self,
        x: Float[Tensor, "B T d_model"],
        rotation: Rotation | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T d_model"]:
        if self.norms_first:
            return super().forward(x, rotation, mask, cache)
        x = self.attn_norm(x + self.drop(self.attn(x, mask, rotation, cache)))
        return self.mlp_norm(x + self.drop(self.mlp(x)))


class Model(Decoder):
    """ids (B, T) -> logits (B, T, vocab_size)."""

    def __init__(self, config: Config, kernels: Kernels = "fused"):
        super().__init__(kernels)
        c = self.config = config
        self.rope = RoPE(c.head_dim, c.rope) if c.position == "rope" else None
        self.tok_embed = Embedding(c.vocab_size, c.d_model)
        self.pos_embed = Embedding(c.context_length, c.d_model) if c.position == "learned" else None
        self.blocks = nn.ModuleList(Block(c, layer, kernels) for layer in range(c.n_layers))
        # With the norm last in every block, the last block has done it.
        is_normed = c.norm_place == "post"
        self.final_norm = nn.Identity() if is_normed else NORMS[c.norm](c.d_model, c.norm_eps, kernels=kernels)
        self.lm_head = None if c.tie_embeddings else Linear(c.d_model, c.vocab_size)
        initialise(self)

    def embed(
        self, ids: Int[Tensor, "B T"], positions: Int[Tensor, "#B T"], cache: KVCache | None
    ) -> Float[Tensor, "B T d_model"]:
        return self.tok_embed(ids) if self.pos_embed is None else self.tok_embed(ids) + self.pos_embed(positions)

    def past_the_end(self, end: int) -> None:
        if self.pos_embed is None:
            return super().past_the_end(end)
        context_length = self.config.context_length
        raise ValueError(f"{end} positions were asked of a model that learned {context_length}, its context_length")


def count_parameters(config: Config) -> int:
    """The number of parameters, without building the model."""
    c = config
    attention = 2 * c.d_model * (c.n_heads + c.n_kv_heads) * c.head_dim
    mlp = (3 if c.activation == "swiglu" else 2) * c.d_model * c.d_ff
    norm = (2 if c.norm == "layer" else 1) * c.d_model
    n_norms = 2 * c.n_layers + (c.norm_place == "pre")
    positions = c.context_length if c.position == "learned" else 0
    rows = (1 if c.tie_embeddings else 2) * c.vocab_size + positions
    return rows * c.d_model + c.n_layers * (attention + mlp) + n_norms * norm


# --- What the names stand for ---

NORMS: dict[str, Callable[..., nn.Module]] = {"rms": RMSNorm, "layer": LayerNorm}
FEED_FORWARDS: dict[str, Callable[[int, int, Kernels], nn.Module]] = {
    "swiglu": lambda d_model, d_ff, kernels: SwiGLU(d_model, d_ff, kernels=kernels),
    **{
        name: lambda d_model, d_ff, kernels, name=name: MLP(d_model, d_ff, bias=False, kernels=kernels, activation=name)
        for name in ACTIVATIONS
    },
}
ATTENTIONS: dict[str, Callable[[int], int]] = {
    "mha": lambda n_heads: n_heads,
    "gqa": lambda n_heads: max(1, n_heads // 2),
    "mqa": lambda n_heads: 1,
}
CHOICES: dict[str, Any] = {
    "norm": NORMS,
    "activation": FEED_FORWARDS,
    "attention": ATTENTIONS,
    "position": ("rope", "learned", "none"),
    "norm_place": ("pre", "post"),
}

PRESETS: dict[str, Config] = {
    # For a laptop and a small vocabulary of one's own: 0.7M, 1.4M, 6M and 16M parameters.
    "nano": Config(context_length=256, n_layers=3, d_model=96, n_heads=4),
    "micro": Config(context_length=256, n_layers=4, d_model=128, n_heads=2),
    "mini": Config(context_length=512, n_layers=6, d_model=256, n_heads=4),
    "small": Config(context_length=512, n_layers=8, d_model=384, n_heads=6),
}

NOT_ELSEWHERE = (
    "its parts are mixed as they are in no other program's models; "
    "train a llama or a gpt2 where the model is to go elsewhere"
)
