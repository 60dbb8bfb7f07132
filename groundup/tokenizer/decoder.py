"""Decoding with the compiled kernel."""

import numpy as np

from groundup.errors import DataError
from groundup.tokenizer import decode_compiled as kernels
from groundup.tokenizer.encoder import flat


class Decoder:
    """The compiled form of `Tokenizer.decode_bytes`, for a table of the bytes of each id."""

    def __init__(self, table: list[bytes]):
        self._tokens, self._offsets = flat(table)

    def decode(self, ids: np.ndarray) -> bytes:
        """The bytes of the ids, an array of any integers. DataError on one outside the vocabulary."""
        if ids.size and int(ids.min()) < 0 or ids.dtype.itemsize > 4 and int(ids.max(initial=0)) >= 2**32:
            raise self._outside(next(i for i in ids.tolist() if not 0 <= i < len(self._offsets) - 1))
        small = np.array(ids, np.uint32)  # a copy: the kernel is compiled for one kind of array
        length = kernels.decoded_length(small, self._offsets)
        if length < 0:
            raise self._outside(int(small[-1 - length]))
        out = np.zeros(length, np.uint8)
        kernels.decode(small, self._tokens, self._offsets, out)
        return out.tobytes()

    def _outside(self, id: int) -> DataError:
        return DataError(f"token id {id} is outside the vocabulary of {len(self._offsets) - 1}")
