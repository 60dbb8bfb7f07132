"""What a decoder does to one id's numbers between its products: norms, RoPE, activations."""

import math

import numpy as np
from numba import njit

from groundup.inference.compiled.exp_compiled import exp
from groundup.inference.compiled.products_compiled import FAST

ACTIVATIONS = SILU, GELU_TANH, GELU = range(3)


@njit(nogil=True, fastmath=FAST)
def norm(x, weight, bias, eps, is_layer_norm, out):
    """RMSNorm of x (d,), or LayerNorm."""
    mean = np.float32(0)
    if is_layer_norm:
        for i in range(len(x)):
            mean += x[i]
        mean /= np.float32(len(x))
    square = np.float32(0)
    for i in range(len(x)):
        square += (x[i] - mean) * (x[i] - mean)
    factor = np.float32(1) / np.float32(math.sqrt(square / np.float32(len(x)) + eps))
    for i in range(len(x)):
        out[i] = (x[i] - mean) * factor * weight[i]
    if len(bias):
        for i in range(len(x)):
            out[i] += bias[i]


@njit(nogil=True, fastmath=FAST)
def angles(position, frequencies, attention_factor, cos, sin):
    """Cosine and sine of RoPE's angles at a position, times the attention factor: the same for all heads and layers."""
    for i in range(len(frequencies)):
        angle = np.float32(position) * frequencies[i]
        cos[i] = np.float32(math.cos(angle)) * attention_factor
        sin[i] = np.float32(math.sin(angle)) * attention_factor


@njit(nogil=True, fastmath=FAST)
def turn(head, cos, sin, is_interleaved):
    """RoPE of one head (head_dim,), in place. Pair i is (head[i], head[i + half]), or head[2i] and the next."""
    half = len(cos)
    if is_interleaved:
        for i in range(half):
            a, b = head[2 * i], head[2 * i + 1]
            head[2 * i] = a * cos[i] - b * sin[i]
            head[2 * i + 1] = a * sin[i] + b * cos[i]
    else:
        for i in range(half):
            a, b = head[i], head[i + half]
            head[i] = a * cos[i] - b * sin[i]
            head[i + half] = a * sin[i] + b * cos[i]


@njit(nogil=True, fastmath=FAST, error_model="numpy")  # checks of divisors keep it from taking sixteen at once
def activate(up, acted, kind, first, last):
    """silu(gate) · up of a row (2 d_ff,), or GELU of a row (d_ff,): acted[first:last]."""
    # From 0 on: numba makes vectors only where it can see that no index is negative.
    n, a, out = len(acted), up[first:last], acted[first:last]
    if kind == SILU:
        b = up[n + first : n + last]
        for i in range(len(out)):
            out[i] = a[i] / (np.float32(1) + exp(-a[i])) * b[i]
    elif kind == GELU_TANH:
        for i in range(len(out)):
            inner = np.float32(0.7978845608028654) * (a[i] + np.float32(0.044715) * a[i] * a[i] * a[i])
            out[i] = a[i] / (np.float32(1) + exp(np.float32(-2) * inner))  # (1 + tanh(y)) / 2 = 1 / (1 + exp(-2 y))
    else:
        for i in range(len(out)):
            erf = np.float32(math.erf(a[i] * np.float32(0.7071067811865476)))
            out[i] = np.float32(0.5) * a[i] * (np.float32(1) + erf)
