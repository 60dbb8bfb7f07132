"""The few machine instructions that Python has no word for: 64 bytes compared at once, bits counted, bytes loaded."""

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic as typed_intrinsic

intrinsic: Any = typed_intrinsic
jit: Any = numba.njit(cache=True, nogil=True, boundscheck=False, _nrt=False)  # pyright: ignore[reportCallIssue]
"""Every kernel: compiled once for all processes; other threads run meanwhile. It makes no arrays (`_nrt`), so none are
counted, which would cost more than the work of a short function."""


def _address(context, builder, array_type, array, at):
    """The address of `array[at]`."""
    data = context.make_array(array_type)(context, builder, array).data
    return cgutils.gep_inbounds(builder, data, at)


@intrinsic
def mask_between(_, data, at, bits_set, low, high):
    """Bit i is set where `low <= data[at + i] | bits_set <= high`, for i from 0 to 63: uint64."""

    def generate(context, builder, signature, arguments):
        array, position, bits_set, low, high = arguments
        lanes = ir.VectorType(ir.IntType(8), 64)

        def spread(value):
            byte = builder.trunc(value, ir.IntType(8))
            one = builder.insert_element(ir.Constant(lanes, ir.Undefined), byte, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(
                one, ir.Constant(lanes, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64)
            )

        address = _address(context, builder, signature.args[0], array, position)
        bytes_there = builder.load(builder.bitcast(address, lanes.as_pointer()))
        bytes_there.align = 1
        above_low = builder.sub(builder.or_(bytes_there, spread(bits_set)), spread(low))
        is_between = builder.icmp_unsigned("<=", above_low, spread(builder.sub(high, low)))
        return builder.bitcast(is_between, ir.IntType(64))

    return types.uint64(data, types.int64, types.int64, types.int64, types.int64), generate


@intrinsic
def first_bit(_, value):
    """The position of the lowest set bit; 64 if there is none."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic
def last_bit(_, value):
    """The position of the highest set bit; -1 if there is none."""

    def generate(context, builder, signature, arguments):
        return builder.sub(ir.Constant(ir.IntType(64), 63), builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0)))

    return types.int64(types.uint64), generate


@intrinsic
def eight_bytes(_, data, at):
    """`data[at]` to `data[at + 7]` as one uint64, the first lowest. All eight must be there."""

    def generate(context, builder, signature, arguments):
        address = _address(context, builder, signature.args[0], *arguments)
        word = builder.load(builder.bitcast(address, ir.IntType(64).as_pointer()))
        word.align = 1
        return word

    return types.uint64(data, types.int64), generate


@intrinsic
def prefetch(_, array, at):
    """Begin to load the cache line of `array[at]`."""

    def generate(context, builder, signature, arguments):
        address = builder.bitcast(_address(context, builder, signature.args[0], *arguments), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [address, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate
