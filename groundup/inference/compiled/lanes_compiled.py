"""Vectors of sixteen float32 in LLVM's language: what kernels whose innermost loops are written in it have in common.

numba makes vectors of a loop where it can show that nothing forbids it, and sums up otherwise than one would. Where
that costs half the speed, the loop is written here, number by number of the machine.
"""

from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils

N_LANES = 16
"""What AVX-512 takes at once; on other processors LLVM makes two or four of one."""
BYTE, SHORT, WORD, LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))
POINTER = BYTE.as_pointer()
LANES = ir.VectorType(ir.FloatType(), N_LANES)
INTEGERS = ir.VectorType(WORD, N_LANES)

TURNED = [[N_LANES * (i % 2) + i // 2 + start for i in range(N_LANES)] for start in (0, 8)]
"""Lanes of two vectors, one of each in turn: from their first halves, and from their second."""


class Bytes(NamedTuple):
    """An array as the kernel sees it: LLVM values."""

    start: Any
    stride: Any
    """Bytes from an entry of its first axis to the next."""
    length: Any


def bytes_of(context, builder, signature, arguments, place: int) -> Bytes:
    """The array that is argument number `place` of an intrinsic."""
    array = cgutils.create_struct_proxy(signature.args[place])(context, builder, arguments[place])
    start = builder.bitcast(array.data, POINTER)
    return Bytes(start, builder.extract_value(array.strides, 0), builder.extract_value(array.shape, 0))


def after(builder, start, *offsets):
    """`start` and so many bytes on."""
    for offset in offsets:
        start = builder.gep(start, [offset])
    return start


def load(builder, start, *offsets, kind: ir.Type = LANES):
    """A vector, or another kind of value, that lies there, at any address."""
    return builder.load(builder.bitcast(after(builder, start, *offsets), kind.as_pointer()), align=1)


def store(builder, value, start, *offsets):
    builder.store(value, builder.bitcast(after(builder, start, *offsets), value.type.as_pointer()), align=1)


def all_lanes(builder, number):
    """A number in each of the lanes."""
    one = builder.insert_element(ir.Constant(ir.VectorType(number.type, N_LANES), ir.Undefined), number, WORD(0))
    return builder.shuffle_vector(one, one, ir.Constant(INTEGERS, [0] * N_LANES))


def spread(builder, start, *offsets):
    """The float32 that lies there, in each of the lanes."""
    return all_lanes(builder, load(builder, start, *offsets, kind=ir.FloatType()))


def call(builder, name: str, *arguments, gives=None):
    """One of LLVM's own functions."""
    kind = ir.FunctionType(gives or ir.VoidType(), [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def turned(builder, lines):
    """Sixteen lines of sixteen, as columns: lines go between the first half and the second by turns, four times."""
    for _ in range(4):
        lines = [
            builder.shuffle_vector(lines[i // 2], lines[i // 2 + 8], ir.Constant(INTEGERS, TURNED[i % 2]))
            for i in range(N_LANES)
        ]
    return lines
