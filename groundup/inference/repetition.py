"""How much a text repeats itself, as a number: the share of its n-grams that stood in it before.

    seq-rep-n = 1 - |different n-grams| / |n-grams|        Welleck et al. 2020, arXiv:1908.04319

What people write stays below a few per cent; a model caught in a loop comes close to 100 %. What to expect of a model
by its size is in docs/generation.md.
"""

from collections.abc import Hashable, Sequence

N = 4
"""Tokens. Shorter ones repeat in every good text ("in the", "there was a"), much longer ones only in loops."""

MUCH = 0.3
"""A text of some length above this reads as one that has lost its way."""


def repeated(ids: Sequence[Hashable], n: int = N) -> float:
    """The share of n-grams that are not new, from 0 to 1; 0 for a text without any.

    >>> repeated("abcabcabc", n=3)        # abc bca cab abc bca cab abc: 3 of 7 are different
    0.5714285714285714
    """
    n_grams = len(ids) - n + 1
    if n_grams <= 0:
        return 0.0
    return 1 - len({tuple(ids[at : at + n]) for at in range(n_grams)}) / n_grams
