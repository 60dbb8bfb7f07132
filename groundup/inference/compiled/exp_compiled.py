"""exp in plain arithmetic, so that loops over it run sixteen numbers at once; the library's takes them one by one.

exp(x) = 2^n · exp(r), where n is the whole number nearest to x / ln 2, and r, what is left, is within ln 2 / 2 of zero.
"""

# pyright: reportCallIssue=false
# An intrinsic is called without its first parameter, which numba fills in.

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy import float32, floor

PER_LN2 = float32(1.4426950408889634)
LN2_HIGH, LN2_LOW = float32(0.693359375), float32(-2.12194440e-4)
"""ln 2 in two parts: the first has so few digits that a whole number times it is exact."""
SMALLEST, LARGEST = float32(-87.0), float32(88.0)
"""Beyond these, float32 has no normal numbers for the result."""


@intrinsic
def float_of_bits(typingctx, bits):  # pyright: ignore[reportUnusedParameter]
    """The float32 that these 32 bits are."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), codegen


@njit(nogil=True, fastmath={"contract", "nsz"})
def exp(x):
    """exp of a float32, to within 3e-7 of it; of a smaller number than SMALLEST, 0 but for 1e-38."""
    x = min(max(x, SMALLEST), LARGEST)
    n = floor(x * PER_LN2 + float32(0.5))
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    p = float32(1 / 720)
    p = p * r + float32(1 / 120)
    p = p * r + float32(1 / 24)
    p = p * r + float32(1 / 6)
    p = p * r + float32(0.5)
    p = p * r + float32(1)
    p = p * r + float32(1)
    return p * float_of_bits(types.int32((types.int32(n) + types.int32(127)) << types.int32(23)))
