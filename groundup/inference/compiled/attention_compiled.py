"""Attention of one head over keys and values that lie in pages, in vectors of sixteen numbers.

A page holds PAGE positions of one layer and head, keys (PAGE, padded) and values (PAGE, padded): head_dim is filled up
with zeros to whole vectors. All sums are kept in registers.
"""

# pyright: reportCallIssue=false
# An intrinsic is called without its first parameter, which numba fills in.

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from groundup.inference.compiled.exp_compiled import exp
from groundup.inference.compiled.lanes_compiled import LANES, LONG, N_LANES, bytes_of, load, spread, store, turned
from groundup.inference.compiled.products_compiled import FAST

PAGE = 64


def padded(head_dim: int) -> int:
    """head_dim, up to whole vectors."""
    return -(-head_dim // N_LANES) * N_LANES


@intrinsic
def _sixteen_scores(typingctx, query, page, first, scores, start):  # pyright: ignore[reportUnusedParameter]
    """scores[start : start + 16] = page[first : first + 16] (16, padded) times query (padded,)"""

    def codegen(context, builder, signature, arguments):
        q, p, s = (bytes_of(context, builder, signature, arguments, place) for place in (0, 1, 3))
        _, _, first, _, start = arguments
        rows = [builder.mul(builder.add(first, LONG(i)), p.stride) for i in range(N_LANES)]
        sums = [cgutils.alloca_once(builder, LANES) for _ in rows]
        for place in sums:
            builder.store(ir.Constant(LANES, [0.0] * N_LANES), place)
        with cgutils.for_range(builder, builder.sdiv(q.length, LONG(N_LANES))) as loop:
            column = builder.mul(loop.index, LONG(4 * N_LANES))
            numbers = load(builder, q.start, column)
            for row, place in zip(rows, sums, strict=True):
                product = builder.fmul(load(builder, p.start, row, column), numbers, flags=["fast"])
                builder.store(builder.fadd(builder.load(place), product, flags=["fast"]), place)
        columns = turned(builder, [builder.load(place) for place in sums])
        while len(columns) > 1:
            half = len(columns) // 2
            columns = [builder.fadd(columns[i], columns[half + i]) for i in range(half)]
        store(builder, columns[0], s.start, builder.mul(start, LONG(4)))
        return context.get_dummy_value()

    return types.void(query, page, types.intp, scores, types.intp), codegen


def _mix(n_vectors, n_rows):
    """A function that adds up n_vectors times 16 columns of a page of values, n_rows positions at a time."""

    @intrinsic
    def mix(typingctx, weights, start, n, page, out, column):  # pyright: ignore[reportUnusedParameter]
        """out[column:] += the sum of weights[start + i] · page[i, column:] over the first n positions of a page"""

        def codegen(context, builder, signature, arguments):
            w, p, o = (bytes_of(context, builder, signature, arguments, place) for place in (0, 3, 4))
            _, start, n, _, _, column = arguments
            offset = builder.mul(column, LONG(4))
            nothing = ir.Constant(LANES, [0.0] * N_LANES)
            sums = [[cgutils.alloca_once(builder, LANES) for _ in range(n_vectors)] for _ in range(n_rows)]
            for k, row in enumerate(sums):
                for i, place in enumerate(row):
                    builder.store(nothing if k else load(builder, o.start, offset, LONG(64 * i)), place)

            def add(position, row):
                weight = spread(builder, w.start, builder.mul(builder.add(start, position), LONG(4)))
                for i, place in enumerate(row):
                    value = load(builder, p.start, builder.mul(position, p.stride), offset, LONG(64 * i))
                    product = builder.fmul(weight, value, flags=["fast"])
                    builder.store(builder.fadd(builder.load(place), product, flags=["fast"]), place)

            whole = builder.sdiv(n, LONG(n_rows))
            with cgutils.for_range(builder, whole) as loop:
                for k, row in enumerate(sums):
                    add(builder.add(builder.mul(loop.index, LONG(n_rows)), LONG(k)), row)
            rest = builder.mul(whole, LONG(n_rows))
            with cgutils.for_range(builder, builder.sub(n, rest)) as loop:
                add(builder.add(rest, loop.index), sums[0])
            for i in range(n_vectors):
                total = builder.load(sums[0][i])
                for row in sums[1:]:
                    total = builder.fadd(total, builder.load(row[i]))
                store(builder, total, o.start, offset, LONG(64 * i))
            return context.get_dummy_value()

        return types.void(weights, types.intp, types.intp, page, out, types.intp), codegen

    return mix


_mix_four, _mix_one = _mix(4, 2), _mix(1, 4)


@njit(nogil=True, fastmath={"nnan", "nsz"})
def largest(numbers):
    """Of numbers (n,), in any order: so that sixteen can be compared at once."""
    best = np.float32(-np.inf)
    for i in range(len(numbers)):
        best = numbers[i] if numbers[i] > best else best
    return best


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def attend(query, n_seen, pages, keys, values, layer, kv_head, scores, mixed, out):
    """What one head gives for one query (head_dim,) over the first n_seen positions of a sequence, into out.

    scores (whole pages,) and mixed (padded,) are room to work in; mixed is 0 beyond head_dim.
    """
    scale = np.float32(1) / np.float32(math.sqrt(len(query)))
    for j in range(len(query)):
        mixed[j] = query[j]
    for start in range(0, n_seen, N_LANES):
        _sixteen_scores(mixed, keys[pages[start // PAGE], layer, kv_head], start % PAGE, scores, start)
    best, total = largest(scores[:n_seen]), np.float32(0)
    for i in range(n_seen):
        scores[i] = exp((scores[i] - best) * scale)
        total += scores[i]
    for j in range(len(mixed)):
        mixed[j] = np.float32(0)
    for start in range(0, n_seen, PAGE):
        page, n = values[pages[start // PAGE], layer, kv_head], min(PAGE, n_seen - start)
        column = 0
        while column + 4 * N_LANES <= len(mixed):
            _mix_four(scores, start, n, page, mixed, column)
            column += 4 * N_LANES
        while column < len(mixed):
            _mix_one(scores, start, n, page, mixed, column)
            column += N_LANES
    for j in range(len(out)):
        out[j] = mixed[j] / total
