"""What the compiled engine has to know of a model, read from config.json or a GGUF file's metadata without torch.

It is read narrowly: whatever is not known here to change nothing makes the model one for the torch engine, which says
what is wrong with it, or can compute it. The families are held to models/*.Config by a test.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from groundup.weights.hf_keys import HARMLESS

FAMILIES = ("gpt2", "llama", "qwen2", "qwen3")


class NotCompiled(Exception):
    """The model is one for the torch engine; the text says why."""


@dataclass(frozen=True)
class Shape:
    """A decoder: sizes, and which of the parts that families choose between it has."""

    family: str
    vocab_size: int
    context_length: int
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ff: int
    norm_eps: float
    tie_embeddings: bool
    frequencies: np.ndarray
    """Radians by which each pair of a head turns per position, float32 (head_dim / 2,); empty without RoPE."""
    attention_factor: float = 1.0
    """By how much RoPE lengthens queries and keys."""
    activation: str = "silu"
    """"silu" with a gate, or of an MLP "gelu_tanh" or "gelu"."""

    @property
    def is_gpt2(self) -> bool:
        """LayerNorm, biases, learned positions and an MLP, in place of RMSNorm, RoPE and SwiGLU."""
        return self.family == "gpt2"

    @property
    def has_qk_norm(self) -> bool:
        return self.family == "qwen3"

    @property
    def bytes_per_position(self) -> int:
        """Of keys and values, kept in float32."""
        return 2 * self.n_layers * self.n_kv_heads * self.head_dim * 4


# --- config.json ---

SAME_FOR_ALL = {
    "attention_bias": False, "mlp_bias": False, "hidden_act": "silu", "use_sliding_window": False,
    "rope_interleaved": False, "partial_rotary_factor": 1.0, "use_mrope": False, "quantization_config": None,
    "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False,
}  # fmt: skip
"""Settings that must be absent or as here."""
READ = {
    "gpt2": {"vocab_size", "n_positions", "n_layer", "n_head", "n_embd", "n_inner", "layer_norm_epsilon",
             "activation_function", "tie_word_embeddings", "resid_pdrop"},
    "llama": {"vocab_size", "max_position_embeddings", "num_hidden_layers", "hidden_size", "intermediate_size",
              "num_attention_heads", "num_key_value_heads", "head_dim", "rms_norm_eps", "tie_word_embeddings",
              "rope_theta", "rope_parameters", "rope_scaling", "attention_dropout", "sliding_window",
              "max_window_layers", "layer_types"},
}  # fmt: skip
"""Settings that are read, and those that matter in training or with `use_sliding_window` only."""


def from_config(content: Mapping[str, Any]) -> Shape:
    """The Shape that a config.json describes. NotCompiled says why there is none."""
    family = content.get("model_type")
    if family not in FAMILIES:
        raise NotCompiled(f"the compiled engine knows {', '.join(FAMILIES)}, and not {str(family)[:40]}")
    for key, only in SAME_FOR_ALL.items():
        if content.get(key, only) not in (only, None):
            raise NotCompiled(f"{key} is {content[key]!r:.40}")
    known = HARMLESS | SAME_FOR_ALL.keys() | READ["gpt2" if family == "gpt2" else "llama"]
    if unknown := sorted(content.keys() - known):
        raise NotCompiled(f"config.json has the setting {unknown[0]}, which is not known here")
    try:
        return _gpt2(content) if family == "gpt2" else _llama(str(family), content)
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise NotCompiled(f"config.json is not complete: {error}") from error


def _gpt2(content: Mapping[str, Any]) -> Shape:
    activations = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
    activation = content.get("activation_function", "gelu_new")
    if activation not in activations:
        raise NotCompiled(f"activation_function is {activation!r:.40}")
    d_model, n_heads = content["n_embd"], content["n_head"]
    return Shape(
        family="gpt2", vocab_size=content["vocab_size"], context_length=content["n_positions"],
        n_layers=content["n_layer"], d_model=d_model, n_heads=n_heads, n_kv_heads=n_heads,
        head_dim=d_model // n_heads, d_ff=content.get("n_inner") or 4 * d_model,
        norm_eps=content.get("layer_norm_epsilon", 1e-5), tie_embeddings=content.get("tie_word_embeddings", True),
        frequencies=np.empty(0, np.float32), activation=activations[activation],
    )  # fmt: skip


def _llama(family: str, content: Mapping[str, Any]) -> Shape:
    n_heads = content["num_attention_heads"]
    head_dim = content.get("head_dim") or content["hidden_size"] // n_heads
    frequencies, attention_factor = _rope(content, head_dim)
    return Shape(
        family=family, vocab_size=content["vocab_size"], context_length=content["max_position_embeddings"],
        n_layers=content["num_hidden_layers"], d_model=content["hidden_size"], n_heads=n_heads,
        n_kv_heads=content.get("num_key_value_heads") or n_heads, head_dim=head_dim,
        d_ff=content["intermediate_size"], norm_eps=content["rms_norm_eps"],
        tie_embeddings=content.get("tie_word_embeddings", False), frequencies=frequencies,
        attention_factor=attention_factor,
    )  # fmt: skip


def _rope(content: Mapping[str, Any], head_dim: int) -> tuple[np.ndarray, float]:
    """Frequencies and attention factor. The scalings are those of layers/rope.py, to which a test holds them."""
    tables = [table for key in ("rope_parameters", "rope_scaling") if (table := content.get(key))]
    table = dict(tables[0]) if tables else {}
    thetas = {each for each in (content.get("rope_theta"), *(t.get("rope_theta") for t in tables)) if each is not None}
    if len(thetas) > 1:
        raise NotCompiled("rope_theta is said twice, and differently")
    if len(tables) > 1 and _without_theta(tables[0]) != _without_theta(tables[1]):
        raise NotCompiled("rope_parameters and rope_scaling do not say the same")
    theta = float(thetas.pop()) if thetas else 10_000.0
    kind = table.get("rope_type") or table.get("type") or "default"
    frequencies = inverse_frequencies(theta, head_dim)
    if kind == "default":
        return frequencies, 1.0
    if kind == "linear":
        return (frequencies / np.float32(table["factor"])).astype(np.float32), 1.0
    if kind == "llama3":
        return scale_llama3(
            frequencies, table["factor"], table["original_max_position_embeddings"],
            table.get("low_freq_factor", 1.0), table.get("high_freq_factor", 4.0),
        ), 1.0  # fmt: skip
    if kind == "yarn":
        return _yarn(
            frequencies, theta, {"original_max_position_embeddings": content["max_position_embeddings"]} | table
        )
    raise NotCompiled(f"rope_type is {kind!r:.40}")


def _without_theta(table: Mapping[str, Any]) -> dict[str, Any]:
    """What a table of RoPE says of the scaling, its type under one name."""
    kind = table.get("rope_type") or table.get("type")
    return {key: table[key] for key in table.keys() - {"rope_theta", "rope_type", "type"}} | {"rope_type": kind}


YARN_KEYS = {
    "rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings", "beta_fast", "beta_slow",
    "attention_factor", "mscale", "mscale_all_dim", "truncate", "partial_rotary_factor",
}  # fmt: skip


def _yarn(frequencies: np.ndarray, theta: float, table: Mapping[str, Any]) -> tuple[np.ndarray, float]:
    """Frequencies and attention factor of a table for YaRN."""
    table = {key: value for key, value in table.items() if value is not None}
    if unknown := sorted(table.keys() - YARN_KEYS):
        raise NotCompiled(f"yarn has the setting {unknown[0]}, which is not known here")
    if table.get("partial_rotary_factor", 1.0) != 1.0:
        raise NotCompiled("partial_rotary_factor is not 1")
    factor, trained_context = table["factor"], table["original_max_position_embeddings"]
    fast, slow = table.get("beta_fast", 32.0), table.get("beta_slow", 1.0)
    if not (1 < theta < math.inf and 1 <= factor < math.inf and trained_context >= 1 and 0 < slow < fast < math.inf):
        raise NotCompiled("yarn's numbers are out of their range")
    scaled = scale_yarn(frequencies, theta, factor, trained_context, fast, slow, table.get("truncate", True))
    if table.get("attention_factor"):
        return scaled, float(table["attention_factor"])
    above, below = table.get("mscale"), table.get("mscale_all_dim")
    above, below = (above, below) if above and below else (1.0, 0.0)
    growth = 0.1 * math.log(factor)
    return scaled, (growth * above + 1) / (growth * below + 1)


def inverse_frequencies(theta: float, head_dim: int) -> np.ndarray:
    """theta^(-2i / head_dim), float32 (head_dim / 2,)."""
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    return (1 / np.power(np.float32(theta), exponents)).astype(np.float32)


def scale_llama3(
    frequencies: np.ndarray, factor: float, trained_context: int, low_freq_factor: float, high_freq_factor: float
) -> np.ndarray:
    """Llama 3.1's: quick pairs are left alone, slow ones turn `factor` times slower, the others are mixed."""
    turns = np.float32(trained_context) * frequencies / np.float32(2 * math.pi)
    share_kept = np.clip((turns - low_freq_factor) / (high_freq_factor - low_freq_factor), 0, 1)
    return (frequencies / factor * (1 - share_kept) + frequencies * share_kept).astype(np.float32)


def scale_yarn(
    frequencies: np.ndarray, theta: float, factor: float, trained_context: int, fast: float, slow: float, truncate: bool
) -> np.ndarray:
    """YaRN's: as Llama 3.1's, but mixed by the number of the pair, see layers/rope.py."""
    head_dim = 2 * len(frequencies)

    def pair_with(turns: float) -> float:
        return head_dim * math.log(trained_context / (2 * math.pi * turns)) / (2 * math.log(theta))

    first, last = pair_with(fast), pair_with(slow)
    if truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, head_dim - 1)
    last += 0.001 * (first == last)
    slowed = np.clip((np.arange(len(frequencies), dtype=np.float32) - first) / np.float32(last - first), 0, 1)
    return (frequencies / np.float32(factor) * slowed + frequencies * (1 - slowed)).astype(np.float32)


# --- GGUF ---

OWN = "groundup.config"
GGUF_KEYS = {
    "context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count",
    "attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.layer_norm_rms_epsilon",
    "rope.freq_base", "rope.dimension_count", "rope.scaling.type", "rope.scaling.factor", "vocab_size",
    "tensor_data_layout", "rope.scaling.finetuned", "attention.layer_norm_epsilon",
}  # fmt: skip


def from_metadata(
    metadata: Mapping[str, Any], vocab_size: int, tie_embeddings: bool, factors: np.ndarray | None
) -> Shape:
    """The Shape of a GGUF file; `factors` are the numbers of `rope_freqs.weight`, by which pairs turn slower."""
    family = metadata.get("general.architecture")
    if family not in FAMILIES:
        raise NotCompiled(f"the compiled engine knows no GGUF of {str(family)[:40]}")
    values = {key.removeprefix(f"{family}."): value for key, value in metadata.items() if key.startswith(f"{family}.")}
    if unknown := sorted(values.keys() - GGUF_KEYS):
        raise NotCompiled(f"{family}.{unknown[0]} is not known")
    try:
        eps = "attention.layer_norm_epsilon" if family == "gpt2" else "attention.layer_norm_rms_epsilon"
        n_heads = values["attention.head_count"]
        return Shape(
            family=str(family), vocab_size=vocab_size, context_length=values["context_length"],
            n_layers=values["block_count"], d_model=values["embedding_length"], n_heads=n_heads,
            n_kv_heads=values.get("attention.head_count_kv") or n_heads, head_dim=_head_dim(values),
            d_ff=values["feed_forward_length"], norm_eps=float(str(np.float32(values[eps]))),
            tie_embeddings=tie_embeddings, activation="gelu_tanh" if family == "gpt2" else "silu",
            frequencies=np.empty(0, np.float32) if family == "gpt2" else _gguf_frequencies(metadata, values, factors),
        )  # fmt: skip
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise NotCompiled(f"the file's metadata is not complete: {error}") from error


def _head_dim(values: Mapping[str, Any]) -> int:
    return values.get("attention.key_length") or values["embedding_length"] // values["attention.head_count"]


def _gguf_frequencies(metadata: Mapping[str, Any], values: Mapping[str, Any], factors: np.ndarray | None) -> np.ndarray:
    """As Shape wants them."""
    scaling = values.get("rope.scaling.type", "none")
    if scaling not in ("none", "linear"):
        raise NotCompiled(f"rope.scaling.type is {scaling!r:.40}")
    theta = _precisely(metadata, "theta", values.get("rope.freq_base", 10_000.0))
    frequencies = inverse_frequencies(theta, _head_dim(values))
    if scaling == "linear":
        frequencies = (frequencies / np.float32(values["rope.scaling.factor"])).astype(np.float32)
    return frequencies if factors is None else (frequencies / factors).astype(np.float32)


def _precisely(metadata: Mapping[str, Any], name: str, stored: float) -> float:
    """RoPE's theta as groundup wrote it beside llama.cpp's 32 bits, where the two agree."""
    try:
        own = float(json.loads(metadata[OWN])["rope"][name])
    except (KeyError, TypeError, ValueError):
        return float(str(np.float32(stored)))
    return own if np.float32(own) == np.float32(stored) else float(str(np.float32(stored)))
