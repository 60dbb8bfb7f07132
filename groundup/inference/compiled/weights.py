"""A model's weights as the compiled engine takes them: what there is, and how matrices may be kept."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from groundup.inference.compiled import rows_of_int8
from groundup.inference.compiled import shape as shapes
from groundup.inference.compiled.shape import Shape
from groundup.weights.gguf_blocks import dequantise, quantise_q4_0, quantise_q4_1, quantise_q8_0, round_bf16, round_f16

KINDS = {
    "F32": np.float32,
    "BF16": np.uint16,
    "F16": np.int16,
    "Q8_0": np.int8,
    "INT8_ROW": np.uint32,
    "Q4_0": np.uint8,
    "Q4_1": np.int32,
}
"""How matrices may be kept, by the names of GGUF, and the dtype that stands for it in products_compiled.py. INT8_ROW is
in no file, see rows_of_int8.py."""
NAMES = {"fp32": "F32", "bf16": "BF16", "fp16": "F16", "int8": "Q8_0", "int8-row": "INT8_ROW", "int4": "Q4_0"}
"""What people call those that they can ask for."""
FEW_BITS = {"Q4_0": "Q8_0", "Q4_1": "Q8_0"}
"""Four bits are few for a table that every id reads and every logit is made of: as llama.cpp, eight there."""
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
    "Q4_1": quantise_q4_1,
}
"""float32 (rows, columns) as each kind keeps it."""


def keep(numbers: np.ndarray, kind: str) -> Matrix:
    """Numbers (rows, columns) kept as a kind. ValueError where it cannot hold them."""
    numbers = np.ascontiguousarray(numbers, dtype=np.float32)
    return Matrix(kind, KEEP[kind](numbers).view(KINDS[kind]).reshape(len(numbers), -1), numbers.shape[1])


def smallest(kind: str) -> tuple[Shape, Weights]:
    """A Llama of 64 numbers without meaning, kept as `kind`, to compile the kernels with."""
    rng, n = np.random.default_rng(0), 64
    shape = Shape(
        family="llama", vocab_size=n, context_length=n, n_layers=1, d_model=n, n_heads=2, n_kv_heads=1, head_dim=32,
        d_ff=n, norm_eps=1e-5, tie_embeddings=True, frequencies=shapes.inverse_frequencies(10_000.0, 32),
    )  # fmt: skip

    def matrix(rows: int, kind: str = kind) -> Matrix:
        return keep(rng.normal(size=(rows, n)), kind)

    ones, nothing = np.ones(n, np.float32), np.zeros((0, n), np.float32)
    q, k, v, o, gate, up, down = (matrix(rows) for rows in (n, n // 2, n // 2, n, n, n, n))
    layer = Layer(q, k, v, o, gate, up, down, {"attn_norm": ones, "mlp_norm": ones})
    embed = matrix(n, FEW_BITS.get(kind, kind))
    return shape, Weights(embed, embed, nothing, [layer], ones, nothing[:, 0].copy())
