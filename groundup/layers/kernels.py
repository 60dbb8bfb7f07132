"""Textbook and fused: the two ways in which `layers` computes the same thing.

"textbook" is the formula in plain tensor operations, written to be read. "fused" calls the one kernel that PyTorch
has for it, which is faster and holds less memory. Tests show that outputs and gradients agree, so the choice is
about speed only. It is an argument of every layer, never an environment variable.
"""

from typing import Literal

Kernels = Literal["fused", "textbook"]


def is_fused(kernels: str) -> bool:
    """True for "fused", False for "textbook"; anything else is a ValueError."""
    if kernels not in ("fused", "textbook"):
        raise ValueError(f'kernels is {kernels!r}; valid values are "fused" and "textbook"')
    return kernels == "fused"
