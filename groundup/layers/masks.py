"""Masks: who may attend to whom. True means attend; `a & b` lets through what both let through.

Queries stand in rows and keys in columns. Where there are fewer queries than keys, they are the last of the positions,
as they are with a KV cache. For T = S = 5:

    causal_mask(5, 5)     causal_mask(5, 5, window=3)     document_mask([[0, 0, 1, 1, 1]])
    1 . . . .             1 . . . .                       1 . . . .
    1 1 . . .             1 1 . . .                       1 1 . . .
    1 1 1 . .             1 1 1 . .                       . . 1 . .
    1 1 1 1 .             . 1 1 1 .                       . . 1 1 .
    1 1 1 1 1             . . 1 1 1                       . . 1 1 1
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def causal_mask(
    T: int, S: int, window: int | None = None, device: torch.device | str | None = None
) -> Bool[Tensor, "T S"]:
    """True where a query may look: at itself and what came before, within the last `window` positions if it is given.

    causal_mask(2, 4) == [[1, 1, 1, 0],
                          [1, 1, 1, 1]]
    """
    mask = torch.ones(T, S, dtype=torch.bool, device=device).tril_(S - T)
    return mask if window is None else mask.triu_(S - T - window + 1)


def window_mask(T: int, S: int, window: int, device: torch.device | str | None = None) -> Bool[Tensor, "T S"]:
    """True but for what lies `window` positions back or further: query q and key k with q - k < window.

    It leaves what comes after the query alone: that is another mask's business.
    """
    return torch.ones(T, S, dtype=torch.bool, device=device).triu_(S - T - window + 1)


def document_mask(documents: Int[Tensor, "B T"], causal: bool = True) -> Bool[Tensor, "B 1 T T"]:
    """True between positions of the same document, where several are packed into one row; the 1 is for the heads.

    `documents` numbers them: [0, 0, 1, 1, 1] is a document of two ids and one of three. Equal numbers see each other
    wherever they stand. With `causal`, no position sees a later one.
    """
    mask = documents[:, None, :, None] == documents[:, None, None, :]
    T = documents.shape[1]
    return mask & causal_mask(T, T, device=documents.device) if causal else mask
