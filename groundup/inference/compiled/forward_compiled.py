"""The forward pass of a decoder as one compiled function, which several threads run side by side.

Each takes pieces of every product, and waits where it needs what the others make, see pieces_compiled.py. `forward.py`
says the same in numpy, and is what to read first. Names and shapes, for N ids in a call:

    x (N, d_model)   the residual stream        h (N, d_model)   its normed form, the input of products
    qkv (N, (n_heads + 2 n_kv_heads) head_dim)  mixed (N, n_heads head_dim)   what attention gives
    up (N, d_ff or 2 d_ff)                      acted (N, d_ff)               what the activation gives

Keys and values lie in pages of PAGE positions: keys (n_pages, n_layers, n_kv_heads, PAGE, head_dim). Row s of `pages`
lists those of sequence s, in order; so sequences grow, fork and end without a copy.
"""

import math
from collections import namedtuple

import numpy as np
from numba import njit

from groundup.inference.compiled.exp_compiled import exp
from groundup.inference.compiled.pieces_compiled import next_piece, sizes_of, take, wait, wait_for_work
from groundup.inference.compiled.products_compiled import FAST, matrix, times, widen

PAGE = 64
SIZES = IS_LAYER_NORM, HAS_QK_NORM, IS_INTERLEAVED, ACTIVATION, N_HEADS, N_KV_HEADS, HEAD_DIM, N_LAYERS = range(8)
"""Places in the array `sizes`."""
SILU, GELU_TANH, GELU = range(3)

MATRICES = Q, K, V, OUT, GATE, UP, DOWN = range(7)
"""Columns of the table of addresses."""

Weights = namedtuple(
    "Weights",
    [
        "kind", "addresses", "embed", "head", "positions", "q_bias", "k_bias", "v_bias", "o_bias", "up_bias",
        "down_bias", "attn_norm", "attn_norm_bias", "mlp_norm", "mlp_norm_bias", "q_norm", "k_norm", "final_norm",
        "final_norm_bias", "frequencies",
    ],
)  # fmt: skip
"""addresses int64 (n_layers, 7): where each block's matrices lie, kept as the empty array `kind` says. Biases and norms
are float32, stacked over the layers; what a family has not is empty, (n_layers, 0)."""
Room = namedtuple("Room", ["x", "h", "cos", "sin", "qkv", "mixed", "up", "acted", "added", "asked", "logits", "scores"])
"""Where a pass writes. scores (n_threads, longest), the others (most ids, ...)."""
Batch = namedtuple("Batch", ["ids", "positions", "sequences", "wanted", "pages"])
"""What a pass is over: the first n_ids of ids, positions and sequences, all int64; logits of those whose numbers are
the first n_wanted of wanted; pages int32 (sequences, most pages)."""


@njit(nogil=True, fastmath=FAST)
def share(n, piece, n_pieces):
    """Which of n rows are a piece: from the first up to, not including, the second."""
    return n * piece // n_pieces, n * (piece + 1) // n_pieces


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


@njit(nogil=True, fastmath=FAST)
def activate(up, acted, kind, first, last):
    """silu(gate) · up of a row (2 d_ff,), or GELU of a row (d_ff,): acted[first:last]."""
    n = len(acted)
    if kind == SILU:
        for i in range(first, last):
            acted[i] = up[i] / (np.float32(1) + exp(-up[i])) * up[n + i]
    elif kind == GELU_TANH:
        for i in range(first, last):
            a = up[i]
            inner = np.float32(0.7978845608028654) * (a + np.float32(0.044715) * a * a * a)
            acted[i] = np.float32(0.5) * a * (np.float32(1) + np.float32(math.tanh(inner)))
    else:
        for i in range(first, last):
            a = up[i]
            acted[i] = np.float32(0.5) * a * (np.float32(1) + np.float32(math.erf(a * np.float32(0.7071067811865476))))


@njit(nogil=True, fastmath=FAST)
def attend(query, n_seen, pages, keys, values, layer, kv_head, scores, out):
    """What one head gives for one query (head_dim,) over the first n_seen positions of a sequence, into out."""
    scale = np.float32(1) / np.float32(math.sqrt(len(query)))
    best = np.float32(-np.inf)
    for start in range(0, n_seen, PAGE):
        page = keys[pages[start // PAGE], layer, kv_head]
        for i in range(min(PAGE, n_seen - start)):
            key, score = page[i], np.float32(0)
            for j in range(len(query)):
                score += query[j] * key[j]
            score *= scale
            scores[start + i] = score
            best = max(best, score)
    total = np.float32(0)
    for i in range(n_seen):
        scores[i] = exp(scores[i] - best)
        total += scores[i]
    for j in range(len(out)):
        out[j] = np.float32(0)
    for start in range(0, n_seen, PAGE):
        page = values[pages[start // PAGE], layer, kv_head]
        for i in range(min(PAGE, n_seen - start)):
            weight, value = scores[start + i] / total, page[i]
            for j in range(len(out)):
                out[j] += weight * value[j]


@njit(nogil=True, fastmath=FAST)
def product(kind, address, x, out, bias, piece, n_pieces):
    """A piece of the columns of out = x @ W.T + bias."""
    first, last = share(out.shape[1], piece, n_pieces)
    times(matrix(kind, address, out.shape[1], x.shape[1]), x, out, first, last)
    if len(bias):
        for n in range(len(out)):
            for i in range(first, last):
                out[n, i] += bias[i]


@njit(nogil=True, fastmath=FAST)
def add_to(x, added, piece, n_pieces):
    """x += added, for a piece of the columns."""
    first, last = share(x.shape[1], piece, n_pieces)
    for n in range(len(x)):
        for i in range(first, last):
            x[n, i] += added[n, i]


@njit(nogil=True, fastmath=FAST, cache=True)
def forward(
    thread, number, n_ids, n_wanted, n_pieces, counters, sizes, eps, attention_factor, w, room, keys, values, batch
):
    """One thread's part in pass `number`. Keys and values of the new positions are stored, logits stand in `room`.

    All threads call this with the same arguments but the first, and take what pieces they can get; products are cut
    into `n_pieces`. When it returns, the pass is over.
    """
    ids, positions, sequences, pages = batch.ids, batch.positions, batch.sequences, batch.pages
    n_heads, n_kv_heads, head_dim = sizes[N_HEADS], sizes[N_KV_HEADS], sizes[HEAD_DIM]
    is_layer_norm = sizes[IS_LAYER_NORM] == 1
    x, h, qkv, mixed = room.x[:n_ids], room.h[:n_ids], room.qkv[:n_ids], room.mixed[:n_ids]
    up, acted, added = room.up[:n_ids], room.acted[:n_ids], room.added[:n_ids]
    n_q, n_kv, n_up = n_heads * head_dim, n_kv_heads * head_dim, acted.shape[1]
    phase = 0

    n = take(counters, phase, number, n_ids)
    while n >= 0:
        widen(w.embed, ids[n], x[n])
        if len(w.positions):
            for i in range(x.shape[1]):
                x[n, i] += w.positions[positions[n], i]
        angles(positions[n], w.frequencies, attention_factor, room.cos[n], room.sin[n])
        norm(x[n], w.attn_norm[0], w.attn_norm_bias[0], eps, is_layer_norm, h[n])
        n = next_piece(counters, phase, number, n_ids)
    wait(counters, phase, number, n_ids)

    for layer in range(sizes[N_LAYERS]):
        at = w.addresses[layer]
        phase += 1
        piece = take(counters, phase, number, n_pieces)
        while piece >= 0:
            product(w.kind, at[Q], h, qkv[:, :n_q], w.q_bias[layer], piece, n_pieces)
            product(w.kind, at[K], h, qkv[:, n_q : n_q + n_kv], w.k_bias[layer], piece, n_pieces)
            product(w.kind, at[V], h, qkv[:, n_q + n_kv :], w.v_bias[layer], piece, n_pieces)
            piece = next_piece(counters, phase, number, n_pieces)
        wait(counters, phase, number, n_pieces)

        # Queries are turned where they stand, keys and values go to their page: all heads of an id are a piece.
        phase += 1
        n = take(counters, phase, number, n_ids)
        while n >= 0:
            page, place = pages[sequences[n], positions[n] // PAGE], positions[n] % PAGE
            for head in range(n_heads + n_kv_heads):
                vector = qkv[n, head * head_dim : (head + 1) * head_dim]
                if sizes[HAS_QK_NORM] == 1:
                    weight = w.q_norm[layer] if head < n_heads else w.k_norm[layer]
                    norm(vector, weight, weight[:0], eps, False, vector)
                if len(w.frequencies):
                    turn(vector, room.cos[n], room.sin[n], sizes[IS_INTERLEAVED] == 1)
            for head in range(n_kv_heads):
                start = n_q + head * head_dim
                keys[page, layer, head, place] = qkv[n, start : start + head_dim]
                values[page, layer, head, place] = qkv[n, start + n_kv : start + n_kv + head_dim]
            n = next_piece(counters, phase, number, n_ids)
        wait(counters, phase, number, n_ids)

        # Query heads that share keys and values are a piece.
        phase += 1
        n_groups, in_group = n_ids * n_kv_heads, n_heads // n_kv_heads
        piece = take(counters, phase, number, n_groups)
        while piece >= 0:
            n, kv_head = piece // n_kv_heads, piece % n_kv_heads
            for head in range(kv_head * in_group, (kv_head + 1) * in_group):
                here = slice(head * head_dim, (head + 1) * head_dim)
                attend(
                    qkv[n, here], positions[n] + 1, pages[sequences[n]], keys, values, layer, kv_head,
                    room.scores[thread], mixed[n, here],
                )  # fmt: skip
            piece = next_piece(counters, phase, number, n_groups)
        wait(counters, phase, number, n_groups)

        phase += 1
        piece = take(counters, phase, number, n_pieces)
        while piece >= 0:
            product(w.kind, at[OUT], mixed, added, w.o_bias[layer], piece, n_pieces)
            add_to(x, added, piece, n_pieces)
            piece = next_piece(counters, phase, number, n_pieces)
        wait(counters, phase, number, n_pieces)

        phase += 1
        n = take(counters, phase, number, n_ids)
        while n >= 0:
            norm(x[n], w.mlp_norm[layer], w.mlp_norm_bias[layer], eps, is_layer_norm, h[n])
            n = next_piece(counters, phase, number, n_ids)
        wait(counters, phase, number, n_ids)

        phase += 1
        piece = take(counters, phase, number, n_pieces)
        while piece >= 0:
            if sizes[ACTIVATION] == SILU:
                product(w.kind, at[GATE], h, up[:, :n_up], w.up_bias[layer], piece, n_pieces)
                product(w.kind, at[UP], h, up[:, n_up:], w.up_bias[layer], piece, n_pieces)
            else:
                product(w.kind, at[UP], h, up, w.up_bias[layer], piece, n_pieces)
            first, last = share(n_up, piece, n_pieces)
            for n in range(n_ids):
                activate(up[n], acted[n], sizes[ACTIVATION], first, last)
            piece = next_piece(counters, phase, number, n_pieces)
        wait(counters, phase, number, n_pieces)

        phase += 1
        piece = take(counters, phase, number, n_pieces)
        while piece >= 0:
            product(w.kind, at[DOWN], acted, added, w.down_bias[layer], piece, n_pieces)
            add_to(x, added, piece, n_pieces)
            piece = next_piece(counters, phase, number, n_pieces)
        wait(counters, phase, number, n_pieces)

        phase += 1
        is_last = layer + 1 == sizes[N_LAYERS]
        n = take(counters, phase, number, n_ids)
        while n >= 0:
            if is_last:
                norm(x[n], w.final_norm, w.final_norm_bias, eps, is_layer_norm, h[n])
            else:
                norm(x[n], w.attn_norm[layer + 1], w.attn_norm_bias[layer + 1], eps, is_layer_norm, h[n])
            n = next_piece(counters, phase, number, n_ids)
        wait(counters, phase, number, n_ids)

    phase += 1
    piece = take(counters, phase, number, 1)
    while piece >= 0:
        for i in range(n_wanted):
            room.asked[i] = h[batch.wanted[i]]
        piece = next_piece(counters, phase, number, 1)
    wait(counters, phase, number, 1)

    phase += 1
    piece = take(counters, phase, number, n_pieces)
    while piece >= 0:
        first, last = share(w.head.shape[0], piece, n_pieces)
        times(w.head, room.asked[:n_wanted], room.logits[:n_wanted], first, last)
        piece = next_piece(counters, phase, number, n_pieces)
    wait(counters, phase, number, n_pieces)


@njit(nogil=True, cache=True)
def help_along(
    thread, number, most_spins, n_pieces, counters, sizes, eps, attention_factor, w, room, keys, values, batch
):
    """A helper's part in each pass that is called; returns the number of the last when none came for a while."""
    while True:
        word = wait_for_work(counters, number, most_spins)
        if word < 0:
            return number
        number, n_ids, n_wanted = sizes_of(word)
        forward(
            thread, number, n_ids, n_wanted, n_pieces, counters, sizes, eps, attention_factor, w, room, keys, values,
            batch,
        )  # fmt: skip
