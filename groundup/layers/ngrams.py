"""Embeddings of n-grams: a vector for an id together with the ones before it, looked up in a table by their hash.

A small network spends its first layer on finding out which id came before. A table can say it at once, at the price of
memory and next to no computation. There are too many n-grams for a row each, so a hash sends several to one row, and
training gives the row to those that matter. Svenstrup et al. 2017, arXiv 1709.03933 (hashed embeddings); Huang et al.
2025, arXiv 2501.16975 (n-grams beside the ids of a language model).
"""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from groundup.layers.embedding import Embedding

MULTIPLIER, PRIME = 1_000_003, 2**31 - 1


def ngram_hashes(ids: Int[Tensor, "B S"], positions: Int[Tensor, "#B T"], n: int) -> Int[Tensor, "B T"]:
    """A number for the n-gram that ends at each of the last T of the S ids, from the id and the n - 1 before it.

    `positions` are those of the T ids in their texts: at position 0 nothing came before, whatever stands to the left,
    be it padding or the text packed in front of this one. What is not there counts as an id of its own.

    The hash is Karp and Rabin's: ((a + 1) · m + b + 1) · m + c + 1, modulo a prime, for ids a, b, c. With ids below
    2^31 no step leaves 64 bits.
    """
    T = positions.shape[-1]
    padded = F.pad(ids.long() + 1, (n - 1, 0))
    hashes = padded.new_zeros(len(ids), T)
    for back in reversed(range(n)):
        end = padded.shape[1] - back
        column = padded[:, end - T : end].where(positions >= back, 0)
        hashes = (hashes * MULTIPLIER + column) % PRIME
    return hashes


class NgramEmbedding(nn.Module):
    """A vector of width `d_model` for the n-gram that ends at each id, from a table of `n_rows`."""

    def __init__(self, n: int, n_rows: int, d_model: int):
        super().__init__()
        self.n = n
        self.table = Embedding(n_rows, d_model)

    def forward(self, ids: Int[Tensor, "B S"], positions: Int[Tensor, "#B T"]) -> Float[Tensor, "B T d_model"]:
        """For the last T of the S ids, the n-grams as `ngram_hashes` sees them."""
        return self.table(ngram_hashes(ids, positions, self.n) % self.table.n_embeddings)
