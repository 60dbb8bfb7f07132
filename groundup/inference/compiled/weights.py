"""A model's weights as the compiled engine takes them: matrices as their file keeps them, memory-mapped if they can be.

What has to be kept otherwise than it lies in the file (another precision was asked for, GPT-2's matrices stand on their
side) is converted into memory, matrix by matrix.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from groundup.errors import ArtefactError, UsageError
from groundup.inference.compiled import rows_of_int8
from groundup.inference.compiled import shape as shapes
from groundup.inference.compiled.shape import NotCompiled, Shape
from groundup.weights.gguf_blocks import dequantise, quantise_q4_0, quantise_q8_0, round_bf16, round_f16
from groundup.weights.stored_tensor import StoredTensor
from groundup.weights.tensors import ModelFiles

KINDS = {
    "F32": np.float32,
    "BF16": np.uint16,
    "F16": np.int16,
    "Q8_0": np.int8,
    "INT8_ROW": np.uint32,
    "Q4_0": np.uint8,
}
"""How matrices may be kept, by the names of GGUF, and the dtype that stands for it in products_compiled.py. INT8_ROW is
in no file, see rows_of_int8.py."""
NAMES = {"fp32": "F32", "bf16": "BF16", "fp16": "F16", "int8": "Q8_0", "int8-row": "INT8_ROW", "int4": "Q4_0"}
"""What people call them."""
BLOCK = 32
"""Every kernel takes so many numbers of a row at a time."""


@dataclass
class Matrix:
    """Rows of weights kept as a kind of KINDS; `kept` (rows, numbers of the kind's dtype)."""

    kind: str
    kept: np.ndarray
    columns: int

    @property
    def rows(self) -> int:
        return len(self.kept)

    def widened(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Those rows as float32 (n, columns)."""
        kept = np.ascontiguousarray(self.kept[rows])
        if self.kind == "F32":
            return kept
        if self.kind == "F16":
            return kept.view(np.float16).astype(np.float32)
        if self.kind == "INT8_ROW":
            return rows_of_int8.widen(kept)
        return dequantise(kept.reshape(-1).view(np.uint8), self.kind).reshape(len(kept), self.columns)

    def times(self, x: np.ndarray) -> np.ndarray:
        """x (N, columns) @ weights.T, float32 (N, rows)."""
        return x @ self.widened().T


@dataclass
class Layer:
    """One block. A bias or norm that the family has not is empty; `gate` is None without."""

    q: Matrix
    k: Matrix
    v: Matrix
    o: Matrix
    gate: Matrix | None
    up: Matrix
    down: Matrix
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    """The norms and biases by their names in VECTORS, float32."""


VECTORS = (
    "q_bias", "k_bias", "v_bias", "o_bias", "up_bias", "down_bias", "attn_norm", "attn_norm_bias", "mlp_norm",
    "mlp_norm_bias", "q_norm", "k_norm",
)  # fmt: skip


@dataclass
class Weights:
    """All of a model's."""

    embed: Matrix
    head: Matrix
    """The same as `embed` where the model ties them."""
    positions: np.ndarray
    """float32 (context_length, d_model) where positions are learned, else (0, d_model)."""
    layers: list[Layer]
    final_norm: np.ndarray
    final_norm_bias: np.ndarray

    @property
    def matrices(self) -> list[Matrix]:
        """All of them, a tied one once."""
        once = [self.embed] if self.head is self.embed else [self.embed, self.head]
        return once + [m for layer in self.layers for m in vars(layer).values() if isinstance(m, Matrix)]

    @property
    def n_bytes(self) -> int:
        """What the matrices take, in memory or in the file."""
        return sum(matrix.kept.nbytes for matrix in self.matrices)

    @property
    def n_parameters(self) -> int:
        vectors = [self.positions, self.final_norm, self.final_norm_bias]
        vectors += [vector for layer in self.layers for vector in layer.vectors.values()]
        return sum(m.rows * m.columns for m in self.matrices) + sum(vector.size for vector in vectors)


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
        self.names = names
        self.kind = self._kind(kind)

    def _kind(self, asked: str) -> str:
        """How matrices will be kept."""
        if asked != "auto" and asked not in NAMES:
            raise UsageError(f"weights are {asked!r}; valid values are auto, {', '.join(NAMES)}", where="--weights")
        s = self.shape
        found = self._stored(GPT2_QKV.format(0) if s.is_gpt2 else self.names["q"].format(0) + ".weight")
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
        # Four bits are few for a table that every id reads and every logit is made of: as llama.cpp, eight there.
        embed = self._matrix(names["embed"], s.vocab_size, s.d_model, "Q8_0" if self.kind == "Q4_0" else self.kind)
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
        s, d = self.shape, self.shape.d_model
        self.left = {name.removeprefix("transformer."): tensor for name, tensor in self.left.items()}
        for name in [name for name in self.left if name.endswith((".attn.bias", ".attn.masked_bias"))]:
            del self.left[name]  # masks that old files keep beside the weights
        embed = self._matrix("wte.weight", s.vocab_size, d, "Q8_0" if self.kind == "Q4_0" else self.kind)
        head = embed if s.tie_embeddings else self._matrix("lm_head.weight", s.vocab_size, d, embed.kind)
        self.left.pop("lm_head.weight", None)
        layers = []
        for i in range(s.n_layers):
            qkv = self._lying(GPT2_QKV.format(i), 3 * d, d)
            qkv_bias = self._vector(f"h.{i}.attn.c_attn.bias", 3 * d)
            q, k, v = (self._kept(part) for part in np.split(qkv, 3))
            biases = zip(("q_bias", "k_bias", "v_bias"), np.split(qkv_bias, 3), strict=True)
            vectors: dict[str, np.ndarray] = dict(biases)
            for ours, theirs, n in (
                ("o_bias", "attn.c_proj.bias", d), ("up_bias", "mlp.c_fc.bias", s.d_ff),
                ("down_bias", "mlp.c_proj.bias", d),
                ("attn_norm", "ln_1.weight", d), ("attn_norm_bias", "ln_1.bias", d),
                ("mlp_norm", "ln_2.weight", d), ("mlp_norm_bias", "ln_2.bias", d),
            ):  # fmt: skip
                vectors[ours] = self._vector(f"h.{i}.{theirs}", n)
            layers.append(
                Layer(
                    q, k, v, self._kept(self._lying(f"h.{i}.attn.c_proj.weight", d, d)), None,
                    self._kept(self._lying(f"h.{i}.mlp.c_fc.weight", s.d_ff, d)),
                    self._kept(self._lying(f"h.{i}.mlp.c_proj.weight", d, s.d_ff)), vectors,
                )
            )  # fmt: skip
        positions = self._take("wpe.weight", (s.context_length, d)).numbers().astype(np.float32)
        return Weights(embed, head, positions, layers, self._vector("ln_f.weight", d), self._vector("ln_f.bias", d))

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
        stored = self._take(name, (rows, columns))
        if stored.dtype == kind:
            return Matrix(kind, stored.raw().view(KINDS[kind]).reshape(rows, -1), columns)
        return self._kept(stored.numbers(), kind)

    def _lying(self, name: str, rows: int, columns: int) -> np.ndarray:
        """GPT-2 keeps (in, out)."""
        return self._take(name, (columns, rows)).numbers().astype(np.float32).T

    def _kept(self, numbers: np.ndarray, kind: str | None = None) -> Matrix:
        kind = kind or self.kind
        numbers = np.ascontiguousarray(numbers, dtype=np.float32)
        try:
            kept = KEEP[kind](numbers)
        except ValueError as error:
            what = f"the weights cannot be kept as {kind}: {error}"
            raise ArtefactError(what, where=str(self.files.path), hint="--weights fp32") from error
        return Matrix(kind, kept.view(KINDS[kind]).reshape(len(numbers), -1), numbers.shape[1])


GPT2_QKV = "h.{}.attn.c_attn.weight"


def _halves(numbers: np.ndarray) -> np.ndarray:
    halves = round_f16(numbers)
    if not np.isfinite(halves).all():
        raise ValueError("there are numbers that are not finite, or too large; valid numbers are below 65520")
    return halves


KEEP: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "F32": lambda numbers: numbers,
    "BF16": round_bf16,
    "F16": _halves,
    "Q8_0": quantise_q8_0,
    "INT8_ROW": rows_of_int8.quantise,
    "Q4_0": quantise_q4_0,
}
"""float32 (rows, columns) as each kind keeps it."""


def smallest(kind: str) -> tuple[Shape, Weights]:
    """A Llama of 64 numbers without meaning, kept as `kind`, to compile the kernels with."""
    rng, n = np.random.default_rng(0), 64
    shape = Shape(
        family="llama", vocab_size=n, context_length=n, n_layers=1, d_model=n, n_heads=2, n_kv_heads=1, head_dim=32,
        d_ff=n, norm_eps=1e-5, tie_embeddings=True, frequencies=shapes.inverse_frequencies(10_000.0, 32),
    )  # fmt: skip

    def matrix(rows: int, kind: str = kind) -> Matrix:
        kept = KEEP[kind](rng.normal(size=(rows, n)).astype(np.float32))
        return Matrix(kind, kept.view(KINDS[kind]).reshape(rows, -1), n)

    ones, nothing = np.ones(n, np.float32), np.zeros((0, n), np.float32)
    q, k, v, o, gate, up, down = (matrix(rows) for rows in (n, n // 2, n // 2, n, n, n, n))
    layer = Layer(q, k, v, o, gate, up, down, {"attn_norm": ones, "mlp_norm": ones})
    embed = matrix(n, "Q8_0" if kind == "Q4_0" else kind)
    return shape, Weights(embed, embed, nothing, [layer], ones, nothing[:, 0].copy())
