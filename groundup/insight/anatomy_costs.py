"""What a model costs: operations for a token, memory to hold it, to train it, and for its cache.

Parameters, operations and bytes of weights are exact; memory for training is an estimate from below: what an
allocator adds, and what an optimizer needs for a moment, is not in it.
"""

import inspect
from dataclasses import dataclass
from typing import Any

from groundup.insight.anatomy import EMBEDDING, Part
from groundup.layers.loss import linear_cross_entropy

BYTES = {"fp32": 4, "bf16": 2, "int8": 1}
"""Of one number. Formats of 8 bits add a scale for each block, which is 6 % for GGUF's Q8_0."""

BYTES_TO_TRAIN = 16
"""Of one parameter in fp32 with AdamW: itself, its gradient, and two moments, 4 bytes each."""

CHUNK = inspect.signature(linear_cross_entropy).parameters["chunk_size"].default
"""Positions whose logits are in memory at one time."""


@dataclass(frozen=True)
class Operations:
    """FLOPs of one token, at a context of `context_length` positions."""

    context_length: int
    by_weights: int
    """Forward: 2 for each weight of a matrix."""
    by_attention: int
    """Forward: 4 · n_heads · head_dim · context_length in each layer."""
    n: int
    """What the rule calls N: the weights a token meets, but for rows that are only looked up."""

    @property
    def forward(self) -> int:
        return self.by_weights + self.by_attention

    @property
    def training(self) -> int:
        """Backward, each product makes two: one for the gradient of its input, one for that of its weights."""
        return 3 * self.forward

    @property
    def training_by_rule(self) -> int:
        """6 N + 12 · n_layers · n_heads · head_dim · context_length.

        Kaplan et al. 2020, arXiv 2001.08361, section 2.1; Chowdhery et al. 2022 (PaLM), arXiv 2204.02311, appendix B.
        """
        return 6 * self.n + 3 * self.by_attention


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes while training in fp32 with AdamW, on micro-batches of `batch_size` sequences."""

    batch_size: int
    context_length: int
    parameters: int
    """Weights, gradients and moments."""
    logits: int
    """Of the positions that the loss looks at together, with their gradient, and the gradient of the head."""
    activations: int
    """What the forward pass keeps for the backward pass."""

    @property
    def total(self) -> int:
        return self.parameters + self.logits + self.activations


def operations(root: Part, context_length: int) -> Operations:
    embedding = root.parameters_by_section()[EMBEDDING]
    tied = sum(part.matrix for part in root.parts if part.name == "lm_head" and not part.parameters)
    return Operations(context_length, 2 * root.matrix, root.flops - 2 * root.matrix, root.active - embedding + tied)


def weights_memory(root: Part) -> dict[str, int]:
    """Bytes of the weights, by dtype."""
    return {dtype: root.parameters * n_bytes for dtype, n_bytes in BYTES.items()}


def cache_memory(cache_numbers: int, n_positions: int = 1) -> dict[str, int]:
    """Bytes of the keys and values of so many positions, by dtype."""
    return {dtype: cache_numbers * n_positions * BYTES[dtype] for dtype in ("fp32", "bf16")}


def training_memory(root: Part, config: Any, batch_size: int, context_length: int) -> TrainingMemory:
    n_positions = batch_size * context_length
    return TrainingMemory(
        batch_size=batch_size,
        context_length=context_length,
        parameters=BYTES_TO_TRAIN * root.parameters,
        logits=4 * config.vocab_size * (2 * min(CHUNK, n_positions) + config.d_model),
        activations=4 * root.kept * n_positions,
    )
