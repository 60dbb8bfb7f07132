"""fast: a family of its own, for the best model that minutes on a small machine can make.

    ids ─ tok_embed (+ bigram_embed + trigram_embed + …) ─ n_layers × Block ─ final_norm ─ lm_head ─ softcap ─ logits

What is in it has paid in other people's measured records, most of all in modded-nanogpt's
(https://github.com/KellerJordan/modded-nanogpt): one change after another, each kept for reaching the same loss sooner.

    queries and keys normed     attention stays calm at high learning rates. Henry et al. 2020, arXiv 2010.04245
    ReLU²                       two matrices, as good as SwiGLU's three here. So et al. 2021 (Primer), arXiv 2109.08668
    blocks that start at zero   each begins as if it were not there, and grows. Zhang et al. 2019, arXiv 1901.09321
    logits under a soft cap     none leaves ±15, which took 7 % fewer steps than ±30. Gemma 2, arXiv 2408.00118
    an untied head, at zero     the first guess is that all ids are as likely; 10 % less time than tied
    n-grams beside the ids      layers/ngrams.py. Optional: memory for steps

The first three, with a padded vocabulary, took 32 % off the time to a given loss. A prototype of all this came, on the
characters of Shakespeare, in 120 seconds of two CPU cores and with Muon, to 2.379 bits per byte, where a block like
Llama's with AdamW came to 2.668 and nanoGPT's recipe for CPUs to 2.739; with n-grams it came to 2.280.
Read it from the leaf to the whole: Block, Model, PRESETS.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

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
from groundup.layers.ngrams import NgramEmbedding
from groundup.layers.norms import RMSNorm
from groundup.layers.rope import RoPE, RopeConfig

NGRAMS = {2: "bigram_embed", 3: "trigram_embed", 4: "fourgram_embed", 5: "fivegram_embed"}
"""The name of the table for the n-grams of each length."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The shape of a fast model. The defaults are a small one, 17M parameters, for a laptop."""

    vocab_size: int = 4096
    context_length: int = 512
    n_layers: int = 8
    d_model: int = 384
    n_heads: int = 6
    """Half as many, of 128, train some 3 % faster here; but with one or two heads in all a model learns much less."""
    n_kv_heads: int = 0
    """0 means n_heads. Fewer of them make the KV cache smaller, at little loss."""
    head_dim: int = 0
    """0 means d_model / n_heads."""
    d_ff: int = 0
    """0 means 4 · d_model."""
    window: int = 0
    """How many positions attention reaches back at most, itself included; 0 means all. A model that is trained on rows
    no longer than this may be used on longer ones: each block hands on what it found, so more comes together."""
    softcap: float = 15.0
    """No logit leaves [-softcap, softcap]; 0 lets them."""
    ngram_rows: int = 0
    """Rows of each table of n-grams: one for pairs of ids, one for triples; 0 leaves them out. 4096 do much for bytes
    and characters, more for larger vocabularies. A row costs d_model parameters, and time where they are updated."""
    longest_ngram: int = 3
    """Up to how many ids an n-gram has: 2 to 5, a table for each length. Where ids are characters, 5 learn sooner."""
    norm_eps: float = 1e-6
    dropout: float = 0.0
    """Of the embeddings and both outputs of a block; only in training. For small texts that are seen many times. Not of
    the attention weights: the quickest form of attention has none."""
    tie_embeddings: bool = False
    """Whether the output head is the embedding table, which then does not start at zero."""
    rope: RopeConfig = field(default_factory=RopeConfig)

    def __post_init__(self):
        head_dim = self.d_model // max(1, self.n_heads)
        fill_in(self, n_kv_heads=self.n_heads, head_dim=head_dim, d_ff=4 * self.d_model)
        check_shape(self)
        if not 0 <= self.softcap < float("inf"):
            raise ValueError(f"softcap is {self.softcap}; valid values are above 0, such as 15, and 0 for none")
        if self.window < 0:
            raise ValueError(f"window is {self.window}; valid values are whole numbers from 1, and 0 for no window")
        if self.ngram_rows < 0:
            raise ValueError(f"ngram_rows is {self.ngram_rows}; valid values are whole numbers from 1, and 0 for none")
        if self.longest_ngram not in NGRAMS:
            raise ValueError(f"longest_ngram is {self.longest_ngram}; valid values are {', '.join(map(str, NGRAMS))}")


class Block(PreNormBlock):
    """x + attention(norm(x)), then x + mlp(norm(x)): both halves read the residual stream and add to it."""

    def __init__(self, config: Config, layer: int, kernels: Kernels):
        super().__init__(config.dropout, kernels)
        c = config
        self.attn_norm = RMSNorm(c.d_model, c.norm_eps, kernels)
        self.attn = Attention(
            c.d_model, c.n_heads, c.n_kv_heads, c.head_dim,
            qk_norm_eps=c.norm_eps, window=c.window or None, kernels=kernels, layer=layer,
        )  # fmt: skip
        self.mlp_norm = RMSNorm(c.d_model, c.norm_eps, kernels)
        self.mlp = MLP(c.d_model, c.d_ff, bias=False, kernels=kernels, activation="relu_squared")


class Model(Decoder):
    """ids (B, T) -> logits (B, T, vocab_size).

    N-grams look at ids to the left whatever the `mask`, but not beyond position 0. So sequences that are packed or
    padded are told apart where their `positions` begin again, as the data and the engine have them. With a cache, the
    ids that came before are kept in it.
    """

    starting_std: ClassVar[Mapping[str, float]] = {
        "o_proj.weight": 0.0, "down_proj.weight": 0.0, "lm_head.weight": 0.0,
        # An n-gram that was never seen then adds nothing.
        **{f"{name}.table.weight": 0.0 for name in NGRAMS.values()},
    }  # fmt: skip

    def __init__(self, config: Config, kernels: Kernels = "fused"):
        super().__init__(kernels)
        c = self.config = config
        self.softcap = c.softcap
        self.rope = RoPE(c.head_dim, c.rope)
        self.tok_embed = Embedding(c.vocab_size, c.d_model)
        for n, name in NGRAMS.items():
            if c.ngram_rows and n <= c.longest_ngram:
                self.add_module(name, NgramEmbedding(n, c.ngram_rows, c.d_model))
        self.blocks = nn.ModuleList(Block(c, layer, kernels) for layer in range(c.n_layers))
        self.final_norm = RMSNorm(c.d_model, c.norm_eps, kernels)
        self.lm_head = None if c.tie_embeddings else Linear(c.d_model, c.vocab_size)
        initialise(self)

    def embed(
        self, ids: Int[Tensor, "B T"], positions: Int[Tensor, "#B T"], cache: KVCache | None
    ) -> Float[Tensor, "B T d_model"]:
        x = self.tok_embed(ids)
        tables = [getattr(self, name) for name in NGRAMS.values() if hasattr(self, name)]
        if not tables:
            return x
        seen = ids if cache is None else cache.remember(ids)
        for table in tables:
            x = x + table(seen, positions)
        return x


def count_parameters(config: Config) -> int:
    """The number of parameters, without building the model."""
    c = config
    attention = 2 * c.d_model * (c.n_heads + c.n_kv_heads) * c.head_dim + 2 * c.head_dim
    mlp = 2 * c.d_model * c.d_ff
    norm = c.d_model
    rows = (1 if c.tie_embeddings else 2) * c.vocab_size + (c.longest_ngram - 1) * c.ngram_rows
    return rows * c.d_model + c.n_layers * (attention + mlp + 2 * norm) + norm


PRESETS: dict[str, Config] = {
    # For a laptop and a small vocabulary of one's own: 1.1M, 1.8M, 6.8M, 17M, 42M and 91M parameters.
    "nano": Config(context_length=256, n_layers=3, d_model=96, n_heads=3),
    "micro": Config(context_length=256, n_layers=4, d_model=128, n_heads=4),
    "mini": Config(context_length=512, n_layers=6, d_model=256, n_heads=4),
    "small": Config(context_length=512, n_layers=8, d_model=384, n_heads=6),
    "medium": Config(context_length=1024, n_layers=12, d_model=512, n_heads=8),
    "large": Config(context_length=1024, n_layers=12, d_model=768, n_heads=12),
}

NOT_ELSEWHERE = (
    "its logits are capped, its ReLU is squared and n-grams may go in, which no other program computes; "
    "train a llama or a qwen3 where the model is to go elsewhere"
)
