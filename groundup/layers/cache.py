"""KVCache: keys and values of the positions already seen, so that the next token costs one position and not all."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


class KVCache:
    """Room for `max_length` positions of every layer, taken once.

    Size in bytes: 2 · n_layers · batch_size · n_kv_heads · max_length · head_dim · bytes per number.

    `length` counts the positions that every layer has stored. Setting it to a smaller number forgets the later ones.
    `ids`, (B, max_length), are kept only for a model whose input looks at earlier ids, see `remember`.
    """

    def __init__(
        self,
        n_layers: int,
        batch_size: int,
        n_kv_heads: int,
        head_dim: int,
        max_length: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        shape = (n_layers, batch_size, n_kv_heads, max_length, head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.ids: Tensor | None = None
        self.max_length = max_length
        self.length = 0

    def append(
        self, layer: int, k: Float[Tensor, "B n_kv_heads T head_dim"], v: Float[Tensor, "B n_kv_heads T head_dim"]
    ) -> tuple[Float[Tensor, "B n_kv_heads S head_dim"], Float[Tensor, "B n_kv_heads S head_dim"]]:
        """Stores T new positions of one layer and returns all S = length + T of them, as views.

        `length` moves on when the last layer has stored its share, so each layer of one forward sees the same.
        """
        end = self._end(k.shape[2])
        self.keys[layer, :, :, self.length : end] = k
        self.values[layer, :, :, self.length : end] = v
        if layer == len(self.keys) - 1:
            self.length = end
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def remember(self, ids: Int[Tensor, "B T"]) -> Int[Tensor, "B S"]:
        """Stores T new ids before any layer runs, and returns all S = length + T of them."""
        end = self._end(ids.shape[1])
        if self.ids is None:
            self.ids = ids.new_zeros(len(ids), self.max_length)
        self.ids[:, self.length : end] = ids
        return self.ids[:, :end]

    def _end(self, n_new: int) -> int:
        end = self.length + n_new
        if end > self.max_length:
            raise ValueError(f"the cache has room for {self.max_length} positions, and {end} are needed")
        return end

    def keep(self, rows: Int[Tensor, " n_kept"]) -> None:
        """Keeps only these rows of the batch, in this order: finished sequences cost nothing any more."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        self.ids = None if self.ids is None else self.ids[rows]
