"""The forward pass of a decoder as one compiled function, which several threads run side by side.

Each takes pieces of every product, and waits where it needs what the others make, see pieces_compiled.py. `forward.py`
says the same in numpy, and is what to read first. Names and shapes, for N ids in a call:

    x (N, d_model)   the residual stream        h (N, d_model)   its normed form, the input of products
    qkv (N, (n_heads + 2 n_kv_heads) head_dim)  mixed (N, n_heads head_dim)   what attention gives
    up (N, d_ff or 2 d_ff)                      acted (N, d_ff)               what the activation gives

Keys and values lie in pages of PAGE positions, see attention_compiled.py: keys and values (n_pages, n_layers,
n_kv_heads, PAGE, padded). Row s of `pages` lists those of sequence s, in order; so sequences grow, fork and end without
a copy.
"""

# pyright: reportCallIssue=false
# An intrinsic is called without its first parameter, which numba fills in.

from collections import namedtuple

from numba import njit

from groundup.inference.compiled.attention_compiled import PAGE, attend
from groundup.inference.compiled.pieces_compiled import next_piece, sizes_of, take, wait, wait_for_work
from groundup.inference.compiled.products_compiled import BLOCK, FAST, matrix, times, widen
from groundup.inference.compiled.steps_compiled import SILU, activate, angles, norm, turn
from groundup.inference.compiled.tiles_compiled import TILE, begin_tiles, end_tiles, pack, tile_times

SIZES = IS_LAYER_NORM, HAS_QK_NORM, IS_INTERLEAVED, ACTIVATION, N_HEADS, N_KV_HEADS, HEAD_DIM, N_LAYERS = range(8)
"""Places in the array `sizes`."""

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
Room = namedtuple(
    "Room",
    [
        "x", "h", "cos", "sin", "qkv", "mixed", "up", "acted", "added", "asked", "logits", "scores", "mix",
        "h_packed", "mixed_packed", "acted_packed", "asked_packed", "sums", "tile_shapes",
    ],
)  # fmt: skip
"""Where a pass writes. scores (n_threads, longest), mix and sums (n_threads, ...), the others (most ids, ...). What is
packed for the matrix unit is empty where that is not used."""
Batch = namedtuple("Batch", ["ids", "positions", "sequences", "wanted", "pages"])
"""What a pass is over: the first n_ids of ids, positions and sequences, all int64; logits of those whose numbers are
the first n_wanted of wanted; pages int32 (sequences, most pages)."""


@njit(nogil=True, fastmath=FAST)
def share(n, piece, n_pieces):
    """Which of n rows are a piece: from the first up to, not including, the second. They are whole blocks."""
    n_blocks = n // BLOCK
    first, last = n_blocks * piece // n_pieces * BLOCK, n_blocks * (piece + 1) // n_pieces * BLOCK
    return first, n if piece + 1 == n_pieces else last


@njit(nogil=True, fastmath=FAST)
def product(kind, address, x, packed, out, bias, piece, n_pieces, sums):
    """A piece of the columns of out = x @ W.T + bias; by the matrix unit where x is packed for it."""
    first, last = share(out.shape[1], piece, n_pieces)
    weights = matrix(kind, address, out.shape[1], x.shape[1])
    if len(packed):
        tile_times(weights, x, packed, out, first, last, sums)
    else:
        times(weights, x, out, first, last)
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
def forward(thread, this_pass, n_pieces, counters, sizes, eps, attention_factor, w, room, keys, values, batch):
    """One thread's part in a pass. Keys and values of the new positions are stored, logits stand in `room`.

    this_pass: its number, how many ids it has, how many logits are wanted, and whether tiles are used, 1 or 0. All
    threads call this with the same arguments but the first, and take what pieces they can get; products are cut into
    `n_pieces`. When it returns, the pass is over.
    """
    number, n_ids, n_wanted, uses_tiles = this_pass
    ids, positions, sequences, pages = batch.ids, batch.positions, batch.sequences, batch.pages
    n_heads, n_kv_heads, head_dim = sizes[N_HEADS], sizes[N_KV_HEADS], sizes[HEAD_DIM]
    is_layer_norm = sizes[IS_LAYER_NORM] == 1
    x, h, qkv, mixed = room.x[:n_ids], room.h[:n_ids], room.qkv[:n_ids], room.mixed[:n_ids]
    up, acted, added = room.up[:n_ids], room.acted[:n_ids], room.added[:n_ids]
    n_q, n_kv, n_up = n_heads * head_dim, n_kv_heads * head_dim, acted.shape[1]
    n_packed = uses_tiles * len(room.h_packed)  # groups, and none where nothing is packed
    h_packed, mixed_packed, acted_packed = (
        room.h_packed[:n_packed], room.mixed_packed[:n_packed], room.acted_packed[:n_packed],
    )  # fmt: skip
    asked_packed = room.asked_packed[: uses_tiles * len(room.asked_packed)]
    sums = room.sums[thread]
    a_group = 1  # ids that are packed together
    if len(h_packed):
        begin_tiles(room.tile_shapes)
        a_group = TILE
    n_groups = (n_ids + a_group - 1) // a_group
    phase = 0

    group = take(counters, phase, number, n_groups)
    while group >= 0:
        first, last = group * a_group, min((group + 1) * a_group, n_ids)
        for n in range(first, last):
            widen(w.embed, ids[n], x[n])
            if len(w.positions):
                for i in range(x.shape[1]):
                    x[n, i] += w.positions[positions[n], i]
            angles(positions[n], w.frequencies, attention_factor, room.cos[n], room.sin[n])
            norm(x[n], w.attn_norm[0], w.attn_norm_bias[0], eps, is_layer_norm, h[n])
        pack(h, h_packed, first, last, 0, h.shape[1])
        group = next_piece(counters, phase, number, n_groups)
    wait(counters, phase, number, n_groups)

    for layer in range(sizes[N_LAYERS]):
        at = w.addresses[layer]
        phase += 1
        piece = take(counters, phase, number, n_pieces)
        while piece >= 0:
            product(w.kind, at[Q], h, h_packed, qkv[:, :n_q], w.q_bias[layer], piece, n_pieces, sums)
            product(w.kind, at[K], h, h_packed, qkv[:, n_q : n_q + n_kv], w.k_bias[layer], piece, n_pieces, sums)
            product(w.kind, at[V], h, h_packed, qkv[:, n_q + n_kv :], w.v_bias[layer], piece, n_pieces, sums)
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
                keys[page, layer, head, place, :head_dim] = qkv[n, start : start + head_dim]
                values[page, layer, head, place, :head_dim] = qkv[n, start + n_kv : start + n_kv + head_dim]
            n = next_piece(counters, phase, number, n_ids)
        wait(counters, phase, number, n_ids)

        # Query heads that share keys and values are a piece, and pieces that read the same ones come one after another.
        phase += 1
        n_shared, in_group = n_ids * n_kv_heads, n_heads // n_kv_heads
        piece = take(counters, phase, number, n_shared)
        while piece >= 0:
            n, kv_head = piece % n_ids, piece // n_ids
            for head in range(kv_head * in_group, (kv_head + 1) * in_group):
                here = slice(head * head_dim, (head + 1) * head_dim)
                attend(
                    qkv[n, here], positions[n] + 1, pages[sequences[n]], keys, values, layer, kv_head,
                    room.scores[thread], room.mix[thread], mixed[n, here],
                )  # fmt: skip
            piece = next_piece(counters, phase, number, n_shared)
        wait(counters, phase, number, n_shared)

        phase += 1
        if len(mixed_packed):
            piece = take(counters, phase, number, n_pieces)
            while piece >= 0:
                first, last = share(mixed.shape[1], piece, n_pieces)
                pack(mixed, mixed_packed, 0, n_ids, first, last)
                piece = next_piece(counters, phase, number, n_pieces)
            wait(counters, phase, number, n_pieces)

        phase += 1
        piece = take(counters, phase, number, n_pieces)
        while piece >= 0:
            product(w.kind, at[OUT], mixed, mixed_packed, added, w.o_bias[layer], piece, n_pieces, sums)
            add_to(x, added, piece, n_pieces)
            piece = next_piece(counters, phase, number, n_pieces)
        wait(counters, phase, number, n_pieces)

        phase += 1
        group = take(counters, phase, number, n_groups)
        while group >= 0:
            first, last = group * a_group, min((group + 1) * a_group, n_ids)
            for n in range(first, last):
                norm(x[n], w.mlp_norm[layer], w.mlp_norm_bias[layer], eps, is_layer_norm, h[n])
            pack(h, h_packed, first, last, 0, h.shape[1])
            group = next_piece(counters, phase, number, n_groups)
        wait(counters, phase, number, n_groups)

        phase += 1
        piece = take(counters, phase, number, n_pieces)
        while piece >= 0:
            if sizes[ACTIVATION] == SILU:
                product(w.kind, at[GATE], h, h_packed, up[:, :n_up], w.up_bias[layer], piece, n_pieces, sums)
                product(w.kind, at[UP], h, h_packed, up[:, n_up:], w.up_bias[layer], piece, n_pieces, sums)
            else:
                product(w.kind, at[UP], h, h_packed, up, w.up_bias[layer], piece, n_pieces, sums)
            first, last = share(n_up, piece, n_pieces)
            for n in range(n_ids):
                activate(up[n], acted[n], sizes[ACTIVATION], first, last)
            pack(acted, acted_packed, 0, n_ids, first, last)
            piece = next_piece(counters, phase, number, n_pieces)
        wait(counters, phase, number, n_pieces)

        phase += 1
        piece = take(counters, phase, number, n_pieces)
        while piece >= 0:
            product(w.kind, at[DOWN], acted, acted_packed, added, w.down_bias[layer], piece, n_pieces, sums)
            add_to(x, added, piece, n_pieces)
            piece = next_piece(counters, phase, number, n_pieces)
        wait(counters, phase, number, n_pieces)

        phase += 1
        is_last = layer + 1 == sizes[N_LAYERS]
        group = take(counters, phase, number, n_groups)
        while group >= 0:
            first, last = group * a_group, min((group + 1) * a_group, n_ids)
            for n in range(first, last):
                if is_last:
                    norm(x[n], w.final_norm, w.final_norm_bias, eps, is_layer_norm, h[n])
                else:
                    norm(x[n], w.attn_norm[layer + 1], w.attn_norm_bias[layer + 1], eps, is_layer_norm, h[n])
            pack(h, h_packed, first, last, 0, h.shape[1])
            group = next_piece(counters, phase, number, n_groups)
        wait(counters, phase, number, n_groups)

    phase += 1
    piece = take(counters, phase, number, 1)
    while piece >= 0:
        for i in range(n_wanted):
            room.asked[i] = h[batch.wanted[i]]
        pack(room.asked[:n_wanted], asked_packed, 0, n_wanted, 0, h.shape[1])
        piece = next_piece(counters, phase, number, 1)
    wait(counters, phase, number, 1)

    phase += 1
    piece = take(counters, phase, number, n_pieces)
    while piece >= 0:
        first, last = share(len(w.head), piece, n_pieces)
        if len(asked_packed):
            tile_times(w.head, room.asked[:n_wanted], asked_packed, room.logits[:n_wanted], first, last, sums)
        else:
            times(w.head, room.asked[:n_wanted], room.logits[:n_wanted], first, last)
        piece = next_piece(counters, phase, number, n_pieces)
    wait(counters, phase, number, n_pieces)
    if len(h_packed):
        end_tiles()


@njit(nogil=True, cache=True)
def help_along(
    thread, number, most_spins, n_pieces, counters, sizes, eps, attention_factor, w, room, keys, values, batch
):
    """A helper's part in each pass that is called; returns the number of the last when none came for a while."""
    while True:
        word = wait_for_work(counters, number, most_spins)
        if word < 0:
            return number
        this_pass = sizes_of(word)
        forward(thread, this_pass, n_pieces, counters, sizes, eps, attention_factor, w, room, keys, values, batch)
        number = this_pass[0]
