"""The forward pass of a decoder in numpy: what forward_compiled.py does, in a form to read, and its judge in tests."""

import math

import numpy as np

from groundup.inference.compiled.shape import Shape
from groundup.inference.compiled.weights import Layer, Weights


def forward(shape: Shape, w: Weights, ids: np.ndarray, cache: list[np.ndarray], length: int) -> np.ndarray:
    """Logits (N, vocab_size) after each of N new ids of one sequence, which has `length` positions in the cache.

    cache: keys and values, both (n_layers, n_kv_heads, room, head_dim); those of the new positions are stored there.
    """
    positions = np.arange(length, length + len(ids))
    x = w.embed.widened(ids)
    if len(w.positions):
        x = x + w.positions[positions]
    for number, layer in enumerate(w.layers):
        of = layer.vectors
        h = norm(x, of["attn_norm"], of.get("attn_norm_bias"), shape)
        mixed = attention(shape, layer, h, positions, cache[0][number], cache[1][number])
        x = x + layer.o.times(mixed) + of.get("o_bias", 0)
        h = norm(x, of["mlp_norm"], of.get("mlp_norm_bias"), shape)
        x = x + layer.down.times(mlp(shape, layer, h)) + of.get("down_bias", 0)
    return w.head.times(norm(x, w.final_norm, w.final_norm_bias, shape))


def attention(
    shape: Shape, layer: Layer, h: np.ndarray, positions: np.ndarray, keys: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """(N, n_heads head_dim): what each head found at the positions up to its own."""
    n_heads, n_kv_heads, head_dim = shape.n_heads, shape.n_kv_heads, shape.head_dim
    of = layer.vectors
    q, k, v = (
        (matrix.times(h) + of.get(f"{name}_bias", 0)).reshape(len(h), -1, head_dim)
        for name, matrix in (("q", layer.q), ("k", layer.k), ("v", layer.v))
    )
    if shape.has_qk_norm:
        q, k = norm(q, of["q_norm"], None, shape), norm(k, of["k_norm"], None, shape)
    q, k = turn(q, positions, shape), turn(k, positions, shape)
    keys[:, positions], values[:, positions] = k.swapaxes(0, 1), v.swapaxes(0, 1)

    end = positions[-1] + 1
    of_head = np.arange(n_heads) // (n_heads // n_kv_heads)
    scores = np.einsum("nhd,hsd->hns", q, keys[of_head, :end]) / np.float32(math.sqrt(head_dim))
    scores[:, np.arange(end) > positions[:, None]] = -np.inf
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    probs = scores / scores.sum(-1, keepdims=True)
    return np.einsum("hns,hsd->nhd", probs, values[of_head, :end]).reshape(len(h), -1)


def norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, shape: Shape) -> np.ndarray:
    """LayerNorm for GPT-2, else RMSNorm, over the last dimension."""
    if shape.is_gpt2:
        x = x - x.mean(-1, keepdims=True)
    normed = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + np.float32(shape.norm_eps)) * weight
    return normed if bias is None or not len(bias) else normed + bias


def turn(heads: np.ndarray, positions: np.ndarray, shape: Shape) -> np.ndarray:
    """RoPE of (N, heads, head_dim); as they are where a model has none."""
    if not len(shape.frequencies):
        return heads
    angles = positions[:, None, None].astype(np.float32) * shape.frequencies
    cos, sin = np.cos(angles) * shape.attention_factor, np.sin(angles) * shape.attention_factor
    a, b = np.split(heads, 2, axis=-1)
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(np.float32)


def mlp(shape: Shape, layer: Layer, h: np.ndarray) -> np.ndarray:
    """silu(gate) · up, or GELU(up): (N, d_ff)."""
    up = layer.up.times(h) + layer.vectors.get("up_bias", 0)
    if layer.gate is not None:
        gate = layer.gate.times(h)
        return gate / (1 + np.exp(-gate)) * up
    if shape.activation == "gelu_tanh":
        return 0.5 * up * (1 + np.tanh(np.float32(math.sqrt(2 / math.pi)) * (up + np.float32(0.044715) * up**3)))
    erf = np.vectorize(math.erf, otypes=[np.float32])
    return 0.5 * up * (1 + erf(up / np.float32(math.sqrt(2))))
