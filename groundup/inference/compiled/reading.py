"""Reads a model's weights for the compiled engine: matrices as their file keeps them, memory-mapped if they can be.

What has to be kept otherwise than it lies there (another precision was asked for, Hugging Face's GPT-2 is transposed)
is converted into memory, matrix by matrix.
"""

import numpy as np

from groundup.errors import ArtefactError, UsageError
from groundup.inference.compiled import shape as shapes
from groundup.inference.compiled.shape import NotCompiled, Shape
from groundup.inference.compiled.weights import BLOCK, FEW_BITS, KINDS, NAMES, Layer, Matrix, Weights, keep
from groundup.weights.stored_tensor import StoredTensor
from groundup.weights.tensors import ModelFiles


def read(files: ModelFiles, kind: str = "auto") -> tuple[Shape, Weights, bool]:
    """(Shape, Weights, whether RoPE's pairs stand interleaved in queries and keys) of opened files.

    kind: a name of NAMES, or "auto" for what the file has. NotCompiled says why the torch engine has to take a model.
    """
    reader = _Reader(files, kind)
    return reader.shape, reader.weights(), files.format == "gguf" and reader.shape.family == "llama"


HUGGINGFACE = {
    "embed": "model.embed_tokens.weight", "head": "lm_head.weight", "final_norm": "model.norm.weight",
    "q": "model.layers.{}.self_attn.q_proj", "k": "model.layers.{}.self_attn.k_proj",
    "v": "model.layers.{}.self_attn.v_proj", "o": "model.layers.{}.self_attn.o_proj",
    "gate": "model.layers.{}.mlp.gate_proj", "up": "model.layers.{}.mlp.up_proj",
    "down": "model.layers.{}.mlp.down_proj", "attn_norm": "model.layers.{}.input_layernorm",
    "mlp_norm": "model.layers.{}.post_attention_layernorm", "q_norm": "model.layers.{}.self_attn.q_norm",
    "k_norm": "model.layers.{}.self_attn.k_norm",
}  # fmt: skip
GGUF = {
    "embed": "token_embd.weight", "head": "output.weight", "final_norm": "output_norm.weight",
    "q": "blk.{}.attn_q", "k": "blk.{}.attn_k", "v": "blk.{}.attn_v", "o": "blk.{}.attn_output",
    "gate": "blk.{}.ffn_gate", "up": "blk.{}.ffn_up", "down": "blk.{}.ffn_down", "attn_norm": "blk.{}.attn_norm",
    "mlp_norm": "blk.{}.ffn_norm", "q_norm": "blk.{}.attn_q_norm", "k_norm": "blk.{}.attn_k_norm",
}  # fmt: skip
GPT2 = {
    "embed": "wte.weight", "head": "lm_head.weight", "positions": "wpe.weight", "final_norm": "ln_f",
    "qkv": "h.{}.attn.c_attn", "o": "h.{}.attn.c_proj", "up": "h.{}.mlp.c_fc", "down": "h.{}.mlp.c_proj",
    "attn_norm": "h.{}.ln_1", "mlp_norm": "h.{}.ln_2",
}  # fmt: skip
GPT2_GGUF = {
    "embed": "token_embd.weight", "head": "output.weight", "positions": "position_embd.weight",
    "final_norm": "output_norm", "qkv": "blk.{}.attn_qkv", "o": "blk.{}.attn_output", "up": "blk.{}.ffn_up",
    "down": "blk.{}.ffn_down", "attn_norm": "blk.{}.attn_norm", "mlp_norm": "blk.{}.ffn_norm",
}  # fmt: skip


class _Reader:
    """Takes the tensors out of opened files one by one; at the end none may be left."""

    def __init__(self, files: ModelFiles, kind: str):
        self.files, self.left = files, dict(files.tensors)
        names = GGUF if files.format == "gguf" else HUGGINGFACE
        if files.format == "gguf":
            self.left.pop("rope_freqs.weight", None)
            embed, factors = self._stored(names["embed"]), files.tensors.get("rope_freqs.weight")
            self.shape = shapes.from_metadata(
                files.config, embed.shape[0], names["head"] not in files.tensors, factors and factors.numbers()
            )
        else:
            self.shape = shapes.from_config(files.config)
            self.left = {name: t for name, t in self.left.items() if not name.endswith(".rotary_emb.inv_freq")}
        if self.shape.is_gpt2:
            names = GPT2_GGUF if files.format == "gguf" else GPT2
        self.names = names
        self.kind = self._kind(kind)

    def _kind(self, asked: str) -> str:
        """How matrices will be kept."""
        if asked != "auto" and asked not in NAMES:
            raise UsageError(f"weights are {asked!r}; valid values are auto, {', '.join(NAMES)}", where="--weights")
        s = self.shape
        found = self._stored(self.names["qkv" if s.is_gpt2 else "q"].format(0) + ".weight")
        kind = NAMES.get(asked) or (found.dtype if found.dtype in KINDS else "Q8_0" if "Q" in found.dtype else "F32")
        odd = [n for n in (s.d_model, s.d_ff, s.n_heads * s.head_dim) if n % BLOCK]
        if odd:
            raise NotCompiled(f"its rows of {odd[0]} numbers cannot be cut into blocks of {BLOCK}")
        return kind

    def weights(self) -> Weights:
        """Everything. ArtefactError for a tensor that is missing, of another shape, or too many."""
        found = self._gpt2() if self.shape.is_gpt2 else self._llama()
        if self.shape.tie_embeddings:
            self.left.pop(self.names["head"], None)
        if self.left:
            raise NotCompiled(f"the file has a tensor {sorted(self.left)[0]!r}")
        return found

    def _llama(self) -> Weights:
        s, names = self.shape, self.names
        n_q, n_kv = s.n_heads * s.head_dim, s.n_kv_heads * s.head_dim
        embed = self._matrix(names["embed"], s.vocab_size, s.d_model, FEW_BITS.get(self.kind, self.kind))
        head = embed if s.tie_embeddings else self._matrix(names["head"], s.vocab_size, s.d_model, embed.kind)
        layers = []
        for i in range(s.n_layers):
            at = {name: value.format(i) for name, value in names.items()}
            vectors = {name: self._vector(at[name] + ".weight", s.d_model) for name in ("attn_norm", "mlp_norm")}
            if s.has_qk_norm:
                vectors |= {name: self._vector(at[name] + ".weight", s.head_dim) for name in ("q_norm", "k_norm")}
            if s.family == "qwen2":
                vectors |= {
                    f"{name}_bias": self._vector(at[name] + ".bias", n)
                    for name, n in (("q", n_q), ("k", n_kv), ("v", n_kv))
                }
            sizes = {
                "q": (n_q, s.d_model), "k": (n_kv, s.d_model), "v": (n_kv, s.d_model), "o": (s.d_model, n_q),
                "gate": (s.d_ff, s.d_model), "up": (s.d_ff, s.d_model), "down": (s.d_model, s.d_ff),
            }  # fmt: skip
            made = {name: self._matrix(at[name] + ".weight", *size, self.kind) for name, size in sizes.items()}
            layers.append(Layer(**made, vectors=vectors))
        nothing = np.zeros((0, s.d_model), np.float32)
        return Weights(embed, head, nothing, layers, self._vector(names["final_norm"], s.d_model), nothing[:, 0].copy())

    def _gpt2(self) -> Weights:
        s, d, names = self.shape, self.shape.d_model, self.names
        self.left = {name.removeprefix("transformer."): tensor for name, tensor in self.left.items()}
        for name in [name for name in self.left if name.endswith((".attn.bias", ".attn.masked_bias"))]:
            del self.left[name]  # masks that old files keep beside the weights
        embed = self._matrix(names["embed"], s.vocab_size, d, FEW_BITS.get(self.kind, self.kind))
        head = embed if s.tie_embeddings else self._matrix(names["head"], s.vocab_size, d, embed.kind)
        layers = []
        for i in range(s.n_layers):
            at = {name: value.format(i) for name, value in names.items()}
            biases = np.split(self._vector(at["qkv"] + ".bias", 3 * d), 3)
            vectors: dict[str, np.ndarray] = dict(zip(("q_bias", "k_bias", "v_bias"), biases, strict=True))
            for name, n in (("o", d), ("up", s.d_ff), ("down", d), ("attn_norm", d), ("mlp_norm", d)):
                vectors[f"{name}_bias"] = self._vector(at[name] + ".bias", n)
            for name in ("attn_norm", "mlp_norm"):
                vectors[name] = self._vector(at[name] + ".weight", d)
            q, k, v = self._standing(at["qkv"] + ".weight", 3 * d, d, n_parts=3)
            sizes = {"o": (d, d), "up": (s.d_ff, d), "down": (d, s.d_ff)}
            o, up, down = (self._standing(at[name] + ".weight", *size)[0] for name, size in sizes.items())
            layers.append(Layer(q, k, v, o, None, up, down, vectors))
        positions = self._take(names["positions"], (s.context_length, d)).numbers().astype(np.float32)
        norm = (self._vector(f"{names['final_norm']}.{part}", d) for part in ("weight", "bias"))
        return Weights(embed, head, positions, layers, *norm)

    # --- one tensor ---

    def _stored(self, name: str) -> StoredTensor:
        for known in (name, f"transformer.{name}"):
            if known in self.files.tensors:
                return self.files.tensors[known]
        raise ArtefactError(f"tensor {name!r} is missing", where=str(self.files.path))

    def _take(self, name: str, shape: tuple[int, ...]) -> StoredTensor:
        stored = self._stored(name)
        if stored.shape != shape:
            what = f"tensor {name!r} has the shape {stored.shape}, and by its configuration should have {shape}"
            raise ArtefactError(what, where=str(self.files.path))
        self.left.pop(name, None)
        return stored

    def _vector(self, name: str, n: int) -> np.ndarray:
        return np.array(self._take(name, (n,)).numbers(), dtype=np.float32)

    def _matrix(self, name: str, rows: int, columns: int, kind: str) -> Matrix:
        return self._as_it_lies(self._take(name, (rows, columns)), kind)

    def _as_it_lies(self, stored: StoredTensor, kind: str) -> Matrix:
        """A view of the file where it keeps the matrix as that kind."""
        if stored.dtype == kind:
            return Matrix(kind, stored.raw().view(KINDS[kind]).reshape(stored.shape[0], -1), stored.shape[1])
        return self._kept(stored.numbers(), kind)

    def _standing(self, name: str, rows: int, columns: int, n_parts: int = 1) -> list[Matrix]:
        """GPT-2's matrices, cut into parts one below the other; Hugging Face's files keep them on their side."""
        step = rows // n_parts
        if self.files.format == "gguf":
            stored = self._take(name, (rows, columns))
            return [self._as_it_lies(stored.rows(at, at + step), self.kind) for at in range(0, rows, step)]
        numbers = self._take(name, (columns, rows)).numbers().astype(np.float32).T
        return [self._kept(part) for part in np.split(numbers, n_parts)]

    def _kept(self, numbers: np.ndarray, kind: str | None = None) -> Matrix:
        try:
            return keep(numbers, kind or self.kind)
        except ValueError as error:
            what = f"the weights cannot be kept as {kind or self.kind}: {error}"
            raise ArtefactError(what, where=str(self.files.path), hint="--weights fp32") from error
