"""How threads that run a kernel side by side share its work: each takes the next piece, until none is left.

A pass is a row of phases, a phase a number of pieces. A phase is over when all its pieces are done, whoever did them: a
thread that the system has put aside holds the others up by no more than the piece in its hands. It may come back in
a later pass, so each count carries the number of its pass, and who is late finds nothing to take.

numba has no atomic operations for the CPU, so the instructions are written here as LLVM has them.
"""

# pyright: reportCallIssue=false
# An intrinsic is called without its first parameter, which numba fills in.

import sys

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

CALLED, LEFT = 0, 8
"""Places in an array of int64 counters, on cache lines of their own: the latest pass, see `call`; 1 when the
helpers are to leave."""
FIRST_PHASE, A_PHASE = 16, 16
"""From here on each phase has a pair: pieces taken, and 8 places on, pieces done."""
PATIENCE = 5_000
"""Looks, a few microseconds in all, before a thread that waits gives way to others."""
BITS = 20
"""Of a count that are pieces; those above are the number of the pass."""


def n_counters(n_phases: int) -> int:
    """The length of the array."""
    return FIRST_PHASE + A_PHASE * n_phases


def _place(context, builder, signature, arguments):
    array = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0])
    return cgutils.get_item_pointer(context, builder, signature.args[0], array, [arguments[1]], wraparound=False)


@intrinsic
def load(typingctx, counters, index):  # pyright: ignore[reportUnusedParameter]
    """counters[index] as another thread last left it, and with all that it wrote before."""

    def codegen(context, builder, signature, arguments):
        return builder.load_atomic(_place(context, builder, signature, arguments), "acquire", 8)

    return types.int64(counters, types.intp), codegen


@intrinsic
def replace(typingctx, counters, index, before, after):  # pyright: ignore[reportUnusedParameter]
    """counters[index] = after if it is still `before`; whether it was."""

    def codegen(context, builder, signature, arguments):
        place = _place(context, builder, signature, arguments)
        found = builder.cmpxchg(place, arguments[2], arguments[3], "seq_cst", "seq_cst")
        return builder.extract_value(found, 1)

    return types.boolean(counters, types.intp, types.int64, types.int64), codegen


@njit(nogil=True)
def count_up(counters, index, number, most):
    """One more of pass `number`, if there are fewer than `most`; what it was before, or -1."""
    while True:
        before = load(counters, index)
        of, count = before >> BITS, before & ((1 << BITS) - 1)
        if of > number:
            return -1
        if of < number:  # the first of this pass
            count = 0
        if count >= most:
            return -1
        if replace(counters, index, before, (number << BITS) | (count + 1)):
            return count


@njit(nogil=True)
def take(counters, phase, number, n_pieces):
    """The next piece of a phase of pass `number`; -1 if none is left."""
    return count_up(counters, FIRST_PHASE + A_PHASE * phase, number, n_pieces)


@njit(nogil=True)
def next_piece(counters, phase, number, n_pieces):
    """The piece taken before is done: the next one."""
    count_up(counters, FIRST_PHASE + A_PHASE * phase + 8, number, n_pieces)
    return take(counters, phase, number, n_pieces)


@intrinsic
def give_way(typingctx):  # pyright: ignore[reportUnusedParameter]
    """Let another thread have the core: perhaps the one that is waited for."""

    def codegen(context, builder, signature, arguments):
        if sys.platform != "win32":
            call = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.IntType(32), []), "sched_yield")
            builder.call(call, [])
        return context.get_dummy_value()

    return types.void(), codegen


@njit(nogil=True)
def wait(counters, phase, number, n_pieces):
    """Until all pieces of the phase are done."""
    done = (number << BITS) | n_pieces
    n_looks = 0
    while load(counters, FIRST_PHASE + A_PHASE * phase + 8) < done:
        n_looks += 1
        if n_looks > PATIENCE:
            give_way()


@njit(nogil=True, cache=True)
def call(counters, number, n_ids, n_wanted, uses_tiles):
    """Begin pass `number`. What it is like is in one word with it: who comes late must not read that of the next."""
    word = (number << 32) | (uses_tiles << 31) | (n_ids << 16) | n_wanted
    while not replace(counters, CALLED, load(counters, CALLED), word):
        pass


@njit(nogil=True)
def sizes_of(word):
    """(number, n_ids, n_wanted, uses_tiles) of a pass."""
    return word >> 32, (word >> 16) & 0x7FFF, word & 0xFFFF, (word >> 31) & 1


@njit(nogil=True)
def wait_for_work(counters, number, most_spins):
    """Until a pass after `number` is called: its word. -1 after `most_spins` looks, or where all shall leave."""
    for _ in range(most_spins):
        if load(counters, LEFT):
            return -1
        word = load(counters, CALLED)
        if word >> 32 > number:
            return word
    return -1
