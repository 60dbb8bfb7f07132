"""LazyTensor: a tensor that is known by shape and dtype, and read only when it is asked for.

Converting a model is renaming, cutting, stacking and turning its tensors. Done on lazy ones, each is in memory alone
and for a moment, so a model of any size passes through a machine of any size.

    stored = lazy.stored(file_tensors["transformer.h.0.attn.c_attn.weight"])   # (768, 2304), nothing read
    q = stored.transposed().rows(0, 768)                                       # (768, 768), still nothing read
    q.load()                                                                   # now
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from groundup.weights.stored_tensor import StoredTensor

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "BOOL": torch.bool,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
}  # fmt: skip
"""What PyTorch calls a dtype of a file. What is not here, a quantised block, is read as fp32."""


@dataclass(frozen=True)
class LazyTensor:
    """`load` gives a tensor of this shape and dtype. It may share memory with a file or a model: copy to change it."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    load: Callable[[], Tensor]

    def transposed(self) -> "LazyTensor":
        """(out, in) for (in, out)."""
        return self.mapped(lambda tensor: tensor.T, self.shape[::-1])

    def rows(self, start: int, stop: int) -> "LazyTensor":
        """The part from row `start` up to, not including, row `stop`."""
        return self.mapped(lambda tensor: tensor[start:stop], (stop - start, *self.shape[1:]))

    def mapped(self, function: Callable[[Tensor], Tensor], shape: tuple[int, ...] | None = None) -> "LazyTensor":
        """What `function` makes of it, of the same dtype; `shape` if that changes."""
        return LazyTensor(self.shape if shape is None else shape, self.dtype, lambda: function(self.load()))


def of(tensor: Tensor) -> LazyTensor:
    """A tensor that is in memory already."""
    return LazyTensor(tuple(tensor.shape), tensor.dtype, tensor.detach)


def stacked(parts: Sequence[LazyTensor]) -> LazyTensor:
    """One below the other: shapes (a, ...) and (b, ...) give (a + b, ...)."""
    if len(parts) == 1:
        return parts[0]
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    return LazyTensor(shape, parts[0].dtype, lambda: torch.cat([part.load() for part in parts]))


def stored(tensor: StoredTensor) -> LazyTensor:
    """A tensor of a file, memory-mapped where its numbers are as PyTorch has them."""
    dtype = DTYPES.get(tensor.dtype)
    if dtype is None:
        return LazyTensor(tensor.shape, torch.float32, lambda: _shared(tensor.numbers()).float())
    if tensor.n_bytes == 0:  # there is nothing to look at in another dtype
        return of(torch.empty(tensor.shape, dtype=dtype))
    return LazyTensor(tensor.shape, dtype, lambda: _shared(tensor.raw()).view(dtype).view(tensor.shape))


def _shared(numbers) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody writes, see LazyTensor
        return torch.from_numpy(numbers)
