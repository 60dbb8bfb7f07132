"""What an update rule must know of a weight that is spread over several devices (FSDP2: a DTensor).

Each rank holds some rows of such a weight, of its gradient and of its state. A rule that treats every number alone
works on these rows as they lie there (`local`). One that looks at the matrix as a whole, as Muon does, gathers it
(`whole`), and gives each rank its rows of the answer (`share`). An ordinary tensor passes through all three.
"""

from typing import Any, cast

from torch import Tensor


def is_spread(tensor: Tensor) -> bool:
    """Is this one of several parts of a tensor? Asked without importing torch.distributed, which takes its time."""
    return hasattr(tensor, "full_tensor")


def local(tensor: Tensor) -> Tensor:
    """The rows that lie on this rank; they share their memory with the tensor."""
    return cast(Any, tensor).to_local() if is_spread(tensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All rows, gathered from every rank: all ranks must ask, and in the same order."""
    return cast(Any, tensor).full_tensor() if is_spread(tensor) else tensor


def share(matrix: Tensor, like: Tensor) -> Tensor:
    """This rank's rows of a `matrix` that every rank has the same of, where `like` has its rows. Nothing is sent."""
    if not is_spread(like):
        return matrix
    from torch.distributed.tensor import DTensor, Replicate

    spread = cast(DTensor, like)
    everywhere = [Replicate()] * spread.device_mesh.ndim
    same = DTensor.from_local(matrix, spread.device_mesh, everywhere, run_check=False)
    return same.redistribute(placements=spread.placements).to_local()
