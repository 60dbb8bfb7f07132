"""Rows of weights times vectors of numbers, for weights as files keep them: where the time of a model goes.

A matrix is an array whose dtype says how its rows are kept; nothing is unpacked before it is used:

    float32   (rows, columns)             F32
    uint16    (rows, columns)             BF16, the upper half of a float32
    int16     (rows, columns)             F16, the bits of a half
    int8      (rows, columns / 32 · 34)   Q8_0 of GGUF: a block is a half d and 32 whole numbers q, number = d · q
    uint8     (rows, columns / 32 · 18)   Q4_0: a half d and 16 bytes; byte j holds q[j] in its lower half and q[j + 16]
                                          in its upper one, number = d · (q - 8)
    uint32    (rows, 1 + columns / 4)     int8-row: a float32 d and then whole numbers q of 8 bits, number = d · q
    int32     (rows, columns / 32 · 5)    Q4_1: a half d, a half m, and 16 bytes as Q4_0's, number = d · q + m

Columns are a multiple of 32. The innermost loop is written in vectors of sixteen numbers, as LLVM has them, because
numba would sum up every block on its own: a tile of rows by vectors is summed up in registers, and each number that is
loaded is used for the whole tile.
"""

# pyright: reportCallIssue=false
# An intrinsic is called without its first parameter, which numba fills in.

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload
from numba.np.numpy_support import carray

from groundup.inference.compiled.lanes_compiled import (
    BYTE,
    INTEGERS,
    LANES,
    N_LANES,
    SHORT,
    WORD,
    all_lanes,
    call,
    load,
)  # fmt: skip

FAST = {"contract", "reassoc", "nsz", "arcp"}
"""Sums may be taken in another order. Infinities and NaN stay."""
BLOCK = 32
AHEAD = 4096
"""Bytes that are asked of memory before they are needed: left to itself it gives a core half of what it can."""
ROWS, VECTORS = 4, 4
"""The largest tile: sixteen sums of sixteen numbers leave half of AVX-512's registers for what they are made of."""
BLOCK_BYTES = {
    types.float32: 128, types.uint16: 64, types.int16: 64, types.int8: 34, types.uint32: 32, types.uint8: 18,
    types.int32: 20,
}  # fmt: skip


# --- sixteen numbers at once: pieces of LLVM's language ---


def _load(builder, base, offset, kind, n=N_LANES):
    """n numbers of a kind, `offset` bytes after `base`, wherever that is."""
    return load(builder, base, offset, kind=ir.VectorType(kind, n) if n > 1 else kind)


def _of_float32(builder, row, block):
    start = builder.mul(block, block.type(4 * BLOCK))
    return [_load(builder, row, builder.add(start, start.type(64 * i)), ir.FloatType()) for i in range(2)]


def _of_bf16(builder, row, block):
    start = builder.mul(block, block.type(2 * BLOCK))
    halves = [_load(builder, row, builder.add(start, start.type(32 * i)), SHORT) for i in range(2)]
    shifted = [builder.shl(builder.zext(half, INTEGERS), ir.Constant(INTEGERS, [16] * 16)) for half in halves]
    return [builder.bitcast(bits, LANES) for bits in shifted]


def _of_f16(builder, row, block):
    start = builder.mul(block, block.type(2 * BLOCK))
    return [
        builder.fpext(_load(builder, row, builder.add(start, start.type(32 * i)), ir.HalfType()), LANES)
        for i in range(2)
    ]


def _scale(builder, row, start):
    """A block's d, or m, in each of the lanes."""
    bits = _load(builder, row, start, SHORT, 1)
    return all_lanes(builder, builder.fpext(builder.bitcast(bits, ir.HalfType()), ir.FloatType()))


def _of_q8_0(builder, row, block):
    start = builder.mul(block, block.type(34))
    d = _scale(builder, row, start)
    for i in range(2):
        q = builder.sext(_load(builder, row, builder.add(start, start.type(2 + 16 * i)), BYTE), INTEGERS)
        yield builder.fmul(builder.sitofp(q, LANES), d, flags=("fast",))


def _of_int8_row(builder, row, block):
    d = all_lanes(builder, _load(builder, row, block.type(0), ir.FloatType(), 1))
    start = builder.add(builder.mul(block, block.type(BLOCK)), block.type(4))
    for i in range(2):
        q = builder.sext(_load(builder, row, builder.add(start, start.type(16 * i)), BYTE), INTEGERS)
        yield builder.fmul(builder.sitofp(q, LANES), d, flags=("fast",))


def _of_q4_0(builder, row, block):
    start = builder.mul(block, block.type(18))
    d = _scale(builder, row, start)
    both = builder.zext(_load(builder, row, builder.add(start, start.type(2)), BYTE), INTEGERS)
    lower = builder.and_(both, ir.Constant(INTEGERS, [15] * 16))
    for q in (lower, builder.lshr(both, ir.Constant(INTEGERS, [4] * 16))):
        number = builder.sitofp(builder.sub(q, ir.Constant(INTEGERS, [8] * 16)), LANES)
        yield builder.fmul(number, d, flags=("fast",))


def _of_q4_1(builder, row, block):
    start = builder.mul(block, block.type(20))
    d, m = _scale(builder, row, start), _scale(builder, row, builder.add(start, start.type(2)))
    both = builder.zext(_load(builder, row, builder.add(start, start.type(4)), BYTE), INTEGERS)
    for q in (
        builder.and_(both, ir.Constant(INTEGERS, [15] * 16)),
        builder.lshr(both, ir.Constant(INTEGERS, [4] * 16)),
    ):
        number = builder.fmul(builder.sitofp(q, LANES), d, flags=("fast",))
        yield builder.fadd(number, m, flags=("fast",))


NUMBERS = {
    types.float32: _of_float32, types.uint16: _of_bf16, types.int16: _of_f16, types.int8: _of_q8_0,
    types.uint32: _of_int8_row, types.uint8: _of_q4_0, types.int32: _of_q4_1,
}  # fmt: skip
"""For each dtype: the numbers of a block of a row, as two vectors of sixteen."""


def _array(context, builder, kind, value):
    return cgutils.create_struct_proxy(kind)(context, builder, value)


def _row(builder, array, index):
    """Where a row of a matrix begins, as bytes."""
    first_stride = builder.extract_value(array.strides, 0)
    return builder.gep(builder.bitcast(array.data, BYTE.as_pointer()), [builder.mul(index, first_stride)])


def _ask_ahead(builder, row, block, n_bytes):
    """Have the memory behind what is read now, which need not be there, on its way."""
    start = builder.add(builder.mul(block, block.type(n_bytes)), block.type(AHEAD))
    for line in range(0, n_bytes, 64):
        there = builder.gep(row, [builder.add(start, block.type(line))])
        call(builder, "llvm.prefetch.p0", there, WORD(0), WORD(3), WORD(1))  # to read, keep it, no code


def _tile(n_rows, n_vectors):
    """A function that sums up n_rows rows of weights times n_vectors vectors, and writes each sum to its place."""

    @intrinsic
    def tile(typingctx, weights, row, x, vector, out):  # pyright: ignore[reportUnusedParameter]
        if weights.dtype not in NUMBERS:
            raise TypingError(f"there is no matrix of {weights.dtype}")
        numbers_of = NUMBERS[weights.dtype]

        def codegen(context, builder, signature, arguments):
            w, v, o = (_array(context, builder, signature.args[place], arguments[place]) for place in (0, 2, 4))
            size = arguments[1].type
            rows = [builder.add(arguments[1], size(i)) for i in range(n_rows)]
            vectors = [builder.add(arguments[3], size(i)) for i in range(n_vectors)]
            row_starts = [_row(builder, w, row) for row in rows]
            vector_starts = [_row(builder, v, vector) for vector in vectors]
            nothing = ir.Constant(LANES, [0.0] * 16)
            sums = {
                (i, j): cgutils.alloca_once_value(builder, nothing) for i in range(n_rows) for j in range(n_vectors)
            }
            for place in sums.values():  # the function may stand in a loop, and makes room only once
                builder.store(nothing, place)
            n_blocks = builder.sdiv(builder.extract_value(v.shape, 1), size(BLOCK))
            with cgutils.for_range(builder, n_blocks) as loop:
                xs = [_of_float32(builder, start, loop.index) for start in vector_starts]
                for i, start in enumerate(row_starts):
                    _ask_ahead(builder, start, loop.index, BLOCK_BYTES[weights.dtype])
                    numbers = list(numbers_of(builder, start, loop.index))
                    for j in range(n_vectors):
                        total = builder.load(sums[i, j])
                        for number, factor in zip(numbers, xs[j], strict=True):
                            product = builder.fmul(number, factor, flags=("fast",))
                            total = builder.fadd(total, product, flags=("fast",))
                        builder.store(total, sums[i, j])
            add_up = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(ir.FloatType(), [ir.FloatType(), LANES]),
                "llvm.vector.reduce.fadd.v16f32",
            )
            for (i, j), place in sums.items():
                total = builder.call(add_up, [ir.FloatType()(0.0), builder.load(place)], fastmath=("fast",))
                there = builder.gep(_row(builder, o, vectors[j]), [builder.mul(rows[i], size(4))])
                builder.store(total, builder.bitcast(there, ir.FloatType().as_pointer()))
            return context.get_dummy_value()

        return types.void(weights, types.intp, x, types.intp, out), codegen

    return tile


_tile_of_many = _tile(ROWS, VECTORS)
_tile_of_rows = _tile(ROWS, 1)
_tile_of_one = _tile(1, 1)


# --- what kernels call ---


@intrinsic
def pointer_to(typingctx, address, kind):  # pyright: ignore[reportUnusedParameter]
    """An address as a pointer to numbers of the array `kind`."""

    def codegen(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(kind.dtype)(types.int64, kind), codegen


def n_kept(kind, columns):
    """How many numbers of the dtype of `kind` a row of so many columns is."""
    raise NotImplementedError("called from kernels only")


@overload(n_kept)
def _n_kept(kind, columns):
    if kind.dtype == types.uint32:
        return lambda kind, columns: 1 + columns // 4
    n_each = BLOCK_BYTES[kind.dtype] * 8 // kind.dtype.bitwidth
    return lambda kind, columns: columns // BLOCK * n_each


@njit(nogil=True)
def matrix(kind, address, rows, columns):
    """The matrix that lies at an address, kept as `kind` says."""
    return carray(pointer_to(address, kind), (rows, n_kept(kind, columns)))


@intrinsic
def widen(typingctx, weights, row, out):  # pyright: ignore[reportUnusedParameter]
    """A row of weights as float32, into out (columns,)."""
    numbers_of = NUMBERS[weights.dtype]

    def codegen(context, builder, signature, arguments):
        w = _array(context, builder, signature.args[0], arguments[0])
        o = _array(context, builder, signature.args[2], arguments[2])
        size, start = arguments[1].type, _row(builder, w, arguments[1])
        to = builder.bitcast(o.data, BYTE.as_pointer())
        with cgutils.for_range(builder, builder.sdiv(o.nitems, size(BLOCK))) as loop:
            for i, number in enumerate(numbers_of(builder, start, loop.index)):
                place = builder.add(builder.mul(loop.index, size(4 * BLOCK)), size(64 * i))
                stored = builder.store(number, builder.bitcast(builder.gep(to, [place]), LANES.as_pointer()))
                stored.align = 4
        return context.get_dummy_value()

    return types.void(weights, types.intp, out), codegen


@njit(nogil=True)
def times(weights, x, out, first, last):
    """out[:, first:last] = x @ weights[first:last].T, for x float32 (n, columns): the rows that one thread takes."""
    row = first
    while len(x) > 1 and row + ROWS <= last:  # for one vector, row after row is what memory gives quickest
        n = 0
        while n + VECTORS <= len(x):
            _tile_of_many(weights, row, x, n, out)
            n += VECTORS
        while n < len(x):
            _tile_of_rows(weights, row, x, n, out)
            n += 1
        row += ROWS
    while row < last:
        for n in range(len(x)):
            _tile_of_one(weights, row, x, n, out)
        row += 1
