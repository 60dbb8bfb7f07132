"""Products of bf16 weights by the matrix unit of Intel's server processors (AMX), sixteen rows by sixteen vectors.

The unit has eight tiles of 16 rows of 64 bytes. One instruction adds to a tile of sums C (16 rows of weights, 16
vectors) what 32 columns give: A (16 rows, 32 numbers in bf16), as the weights lie in memory, times B (16 pairs of
columns, 16 vectors), which is x packed beforehand. A sum is taken column after column and does not depend on the other
vectors in its tile, so an id's numbers are the same alone and in any company.

x is float32, and bf16 has 8 of its 24 bits. So x is split into two tiles, high + low, which together have 16.

(Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.)
"""

# pyright: reportCallIssue=false
# An intrinsic is called without its first parameter, which numba fills in.

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from groundup.inference.compiled.lanes_compiled import (
    BYTE,
    INTEGERS,
    LANES,
    LONG,
    N_LANES,
    WORD,
    after,
    bytes_of,
    call,
    load,
    store,
    turned,
)  # fmt: skip
from groundup.inference.compiled.products_compiled import times
from groundup.inference.compiled.tiles import KNOWS_TILES

TILE = 16
"""Rows of weights, or vectors, of a tile."""
COLUMNS = 32
"""Numbers in bf16 that a row of a tile holds."""


# --- pieces of LLVM's language ---


def _all(number):
    return ir.Constant(INTEGERS, [number] * N_LANES)


def _rounded(builder, numbers):
    """The bf16 next to each float32, ties to even, in the upper half of 32 bits."""
    bits = builder.bitcast(numbers, INTEGERS)
    is_odd = builder.and_(builder.lshr(bits, _all(16)), _all(1))
    return builder.and_(builder.add(builder.add(bits, _all(0x7FFF)), is_odd), _all(0xFFFF0000))


def _pairs(builder, even, odd):
    """Two vectors of numbers as one of pairs in bf16: their high parts, and their low ones."""
    pairs = []
    for _ in range(2):
        rounded = [_rounded(builder, numbers) for numbers in (even, odd)]
        pairs.append(builder.or_(builder.lshr(rounded[0], _all(16)), rounded[1]))
        even, odd = (
            builder.fsub(numbers, builder.bitcast(high, LANES))
            for numbers, high in zip((even, odd), rounded, strict=True)
        )
    return pairs


# --- a thread's use of the unit ---


@intrinsic
def begin_tiles(typingctx, shapes):  # pyright: ignore[reportUnusedParameter]
    """This thread is going to use tiles, of the shapes in `tiles.SHAPES`."""

    def codegen(context, builder, signature, arguments):
        if KNOWS_TILES:
            call(builder, "llvm.x86.ldtilecfg", bytes_of(context, builder, signature, arguments, 0).start)
        return context.get_dummy_value()

    return types.void(shapes), codegen


@intrinsic
def end_tiles(typingctx):  # pyright: ignore[reportUnusedParameter]
    """It is not any more: the system need not keep them for it."""

    def codegen(context, builder, signature, arguments):
        if KNOWS_TILES:
            call(builder, "llvm.x86.tilerelease")
        return context.get_dummy_value()

    return types.void(), codegen


# --- vectors into tiles ---


@intrinsic
def _pack(typingctx, x, first, n, column, packed):  # pyright: ignore[reportUnusedParameter]
    """packed[0, :, column // 32] and packed[1, ...] from x[first : first + n, column : column + 32], n at most 16.

    What is after vector n is of no meaning.
    """

    def codegen(context, builder, signature, arguments):
        vectors, to = (bytes_of(context, builder, signature, arguments, place) for place in (0, 4))
        _, first, n, column, _ = arguments
        parts = [], []
        for i in range(TILE):
            last = builder.sub(n, LONG(1))
            slot = builder.select(builder.icmp_signed("<", LONG(i), last), LONG(i), last)
            row = builder.mul(builder.add(first, slot), vectors.stride)
            place = builder.mul(column, LONG(4))
            halves = [load(builder, vectors.start, row, place, LONG(64 * half)) for half in range(2)]
            even, odd = (
                builder.shuffle_vector(*halves, ir.Constant(INTEGERS, list(range(k, 32, 2)))) for k in range(2)
            )
            for lines, pairs in zip(parts, _pairs(builder, even, odd), strict=True):
                lines.append(pairs)
        for j, lines in enumerate(parts):
            for i, line in enumerate(turned(builder, lines)):
                part, place = builder.mul(to.stride, LONG(j)), builder.mul(column, LONG(2 * TILE))
                store(builder, line, to.start, part, place, LONG(64 * i))
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp, types.intp, packed), codegen


@njit(nogil=True)
def pack(x, packed, n_first, n_last, first, last):
    """Columns first to last of vectors n_first to n_last of x (N, columns) to packed (groups, 2, columns / 2, 16).

    Vectors are packed in groups of 16, columns in pairs; those to be packed begin and end with a group or with x, and
    are whole tiles of 32 columns. Nothing is done where packed is empty: no tiles are used.
    """
    if len(packed):
        for column in range(first, last, COLUMNS):
            for n in range(n_first, n_last, TILE):
                _pack(x, n, min(TILE, len(x) - n), column, packed[n // TILE])


# --- tiles of weights times tiles of vectors ---


def _sum_up(n_strips, n_groups):
    """A function that sums up n_strips times 16 rows of weights times n_groups times 16 vectors."""

    @intrinsic
    def sum_up(typingctx, weights, row, packed, group, sums, is_first):  # pyright: ignore[reportUnusedParameter]
        """sums (n_strips · n_groups, 16 rows, 16 vectors) = weights[row:] times packed[group:]

        is_first: the weights were not read before, and the next ones are asked of memory meanwhile.
        """

        def codegen(context, builder, signature, arguments):
            if not KNOWS_TILES:
                return context.get_dummy_value()
            w, p, to = (bytes_of(context, builder, signature, arguments, place) for place in (0, 2, 4))
            _, row, _, group, _, is_first = arguments
            strips = [builder.mul(builder.add(row, LONG(TILE * i)), w.stride) for i in range(n_strips + 1)]
            high = [builder.mul(builder.add(group, LONG(j)), p.stride) for j in range(n_groups)]
            a_part = builder.sdiv(p.stride, LONG(2))
            sum_of = {(i, j): BYTE(i * n_groups + j) for i in range(n_strips) for j in range(n_groups)}
            a, b = [BYTE(len(sum_of) + i) for i in range(n_strips)], BYTE(len(sum_of) + n_strips)
            for number in sum_of.values():
                call(builder, "llvm.x86.tilezero", number)
            with cgutils.for_range(builder, builder.sdiv(w.stride, LONG(2 * COLUMNS))) as loop:
                for i, start in enumerate(strips[:-1]):
                    there = after(builder, w.start, start, builder.mul(loop.index, LONG(64)))
                    call(builder, "llvm.x86.tileloadd64", a[i], there, w.stride)
                for j, start in enumerate(high):
                    for part in (start, builder.add(start, a_part)):
                        there = after(builder, p.start, part, builder.mul(loop.index, LONG(64 * TILE)))
                        call(builder, "llvm.x86.tileloadd64", b, there, LONG(64))
                        for i in range(n_strips):
                            call(builder, "llvm.x86.tdpbf16ps", sum_of[i, j], a[i], b)
                with builder.if_then(is_first):
                    done = builder.mul(loop.index, LONG(64 * TILE * n_strips))
                    for line in range(TILE * n_strips):
                        there = after(builder, w.start, strips[-1], done, LONG(64 * line))
                        call(builder, "llvm.prefetch.p0", there, WORD(0), WORD(2), WORD(1))  # to read, second level
            for number in sum_of.values():
                there = after(builder, to.start, LONG(64 * TILE * number.constant))
                call(builder, "llvm.x86.tilestored64", number, there, LONG(64))
            return context.get_dummy_value()

        return types.void(weights, types.intp, packed, types.intp, sums, types.boolean), codegen

    return sum_up


@intrinsic
def _write(typingctx, sums, tile, row, out, first, n):  # pyright: ignore[reportUnusedParameter]
    """out[first : first + n, row : row + 16] = sums[tile] (16 rows, 16 vectors), n at most 16"""

    def codegen(context, builder, signature, arguments):
        s, to = (bytes_of(context, builder, signature, arguments, place) for place in (0, 3))
        _, tile, row, _, first, n = arguments
        start = builder.mul(tile, s.stride)
        lines = turned(builder, [load(builder, s.start, start, LONG(64 * i)) for i in range(TILE)])
        for i, line in enumerate(lines):
            with builder.if_then(builder.icmp_signed("<", LONG(i), n)):
                place = builder.mul(builder.add(first, LONG(i)), to.stride)
                store(builder, line, to.start, place, builder.mul(row, LONG(4)))
        return context.get_dummy_value()

    return types.void(sums, types.intp, types.intp, out, types.intp, types.intp), codegen


SUMS = 4
"""The most tiles of sums at a time."""
_sum_up_one, _sum_up_strips, _sum_up_many = _sum_up(1, 1), _sum_up(2, 1), _sum_up(2, 2)


@njit(nogil=True)
def _strips_times(weights, packed, n, out, row, n_strips, sums):
    """Sixteen rows of weights from `row` on, or twice as many, times n vectors that were packed."""
    vector = 0
    while vector < n:
        group, is_first, n_groups = vector // TILE, vector == 0, 1
        if n_strips == 1:
            _sum_up_one(weights, row, packed, group, sums, is_first)
        elif vector + TILE >= n:
            _sum_up_strips(weights, row, packed, group, sums, is_first)
        else:
            n_groups = 2
            _sum_up_many(weights, row, packed, group, sums, is_first)
        for strip in range(n_strips):
            for i in range(n_groups):
                first = vector + i * TILE
                _write(sums, strip * n_groups + i, row + strip * TILE, out, first, min(TILE, n - first))
        vector += n_groups * TILE


def tile_times(weights, x, packed, out, first, last, sums):
    """out[:, first:last] = x @ weights[first:last].T, for vectors x that were packed.

    first is a multiple of 16, and so is last where it is not the end; sums (SUMS, 16, 16) float32 is room to work in.
    """
    raise NotImplementedError("called from kernels only")


@overload(tile_times)
def _tile_times(weights, x, packed, out, first, last, sums):
    if weights.dtype != types.uint16:  # other kinds are never packed for
        return lambda weights, x, packed, out, first, last, sums: None

    def multiply(weights, x, packed, out, first, last, sums):
        row = first
        while row + TILE <= last:
            # For few vectors, one strip after the other is what memory gives quickest.
            n_strips = 2 if len(x) > TILE and row + 2 * TILE <= last else 1
            _strips_times(weights, packed, len(x), out, row, n_strips, sums)
            row += n_strips * TILE
        times(weights, x, out, row, last)  # what is no whole tile

    return multiply
