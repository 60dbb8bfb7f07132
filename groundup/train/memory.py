"""When memory runs out: how that is recognised, and which micro-batch to go on with.

The sums of a step do not depend on how its batch is cut (see step.py), so a smaller micro-batch costs a little time and
changes nothing else.
"""

from groundup.errors import EnvironmentFault

SIGNS = (
    "can't allocate memory",  # PyTorch's allocator on CPUs
    "not enough memory",  # the same on Windows
    "out of memory",  # CUDA, ROCm, MPS, and their libraries
    "could not create a memory object",  # oneDNN, within a product of matrices
    "could not create a primitive",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""What is said where memory was short, by libraries that have no class of error for it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Did this, or what it came from, fail for want of memory: a GPU's, the machine's, or that of a limit (ulimit)?"""
    seen: set[int] = set()
    while True:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        if isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS):
            return True
        seen.add(id(error))
        before = error.__cause__ or error.__context__
        if before is None or id(before) in seen:
            return False
        error = before


def smaller_micro_batch(rows: int, share: int = 0) -> int | None:
    """The largest number of sequences below `rows` that divides a device's share of the batch; None below one.

    >>> smaller_micro_batch(32), smaller_micro_batch(12), smaller_micro_batch(5), smaller_micro_batch(1)
    (16, 6, 1, None)
    >>> smaller_micro_batch(8, share=24)
    6
    """
    share = share or rows
    return next((n for n in range(rows - 1, 0, -1) if share % n == 0), None)


def explained(error: BaseException, rows: int, smaller: int | None) -> EnvironmentFault:
    """The error for people, with the setting that was computed to help."""
    one = "sequence" if rows == 1 else "sequences"
    if smaller is None:
        hint = "--activation-checkpointing keeps less of each layer; then a smaller --context-length or --size"
    else:
        hint = f"--micro-batch-size {smaller}: the same batch, in smaller parts; `groundup plan` says what fits"
    said = " ".join(str(error).split())
    return EnvironmentFault(
        f"out of memory with micro-batches of {rows} {one}", where=said[:200] or type(error).__name__, hint=hint
    )
