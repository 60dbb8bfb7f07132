"""Texts longer than the context: when it is full, the model goes on with the later half of what there is.

    context of 8     a b c d e f g h | full
                             e f g h | i j k l | full
                                         i j k l | ...

The later half is read anew from position 0, so that no position is one the model never saw, whatever its family; what
lies before it is forgotten. A text that does not fill the context is what it is without this. Later windows are drawn
as copy 0 of themselves, so that a text does not depend on the others of its batch.
"""

from collections.abc import Sequence
from typing import Any


def fitting(ids: Sequence[int], context_length: int, first: Sequence[int] = ()) -> list[int]:
    """`ids` where the context has room for them and one more, else half a context of the last of them, behind `first`.

    >>> fitting([1, 2, 3, 4, 5, 6, 7, 8], 8)
    [5, 6, 7, 8]
    """
    if len(ids) < context_length:
        return list(ids)
    return [*first, *ids[len(ids) - max(1, context_length // 2 - len(first)) :]]


def first_of(tokenizer: Any) -> list[int]:
    """What every window of a text has to begin with: `bos`, if the model expects it."""
    return [tokenizer.bos_id] if tokenizer.adds_bos and tokenizer.bos_id is not None else []
