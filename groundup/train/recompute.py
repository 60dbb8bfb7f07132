"""Activation checkpointing: keep only what enters each block, and compute the rest again in the backward pass.

Memory for activations falls from every product of every block to one (B, T, d_model) tensor a block, for a third more
work. Chen et al. 2016, arXiv 1604.06174. Nothing to do with checkpoints on disk.
"""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute_activations(model: nn.Module) -> None:
    """From now on, a backward pass runs the forward pass of each of `model.blocks` a second time. Same gradients.

    Dropout draws the same numbers again. Calls without gradients, such as generation with a cache, are as they were.
    """
    for block in model.blocks:  # pyright: ignore[reportGeneralTypeIssues]
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
