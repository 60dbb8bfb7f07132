"""The starting weights of a whole model, in one table. Each layer's own start is for whoever uses it alone.

| parameter                                   | starts as                                                        |
|---------------------------------------------|------------------------------------------------------------------|
| embeddings and matrices                     | normal, std 0.02                                                 |
| what writes to the residual stream:         | normal, std 0.02 / sqrt(2 · n_layers)                            |
| `o_proj` and `down_proj`                    |                                                                  |
| weights of norms                            | one                                                              |
| biases                                      | zero                                                             |
| what a model lists in `starting_std`        | normal, with that std; of 0, zero                                |

The residual stream is a sum of 2 · n_layers outputs. Their scale keeps its variance from growing with depth.
Radford et al. 2019, section 2.3 (GPT-2).

The last row is for a family that starts otherwise (models/fast.py): the end of a parameter's name, and its std.
"""

import math
from collections.abc import Mapping

import torch
from torch import nn

STD = 0.02


def initialise(model: nn.Module, seed: int | None = None) -> None:
    """Overwrites every parameter of a model that has `blocks`, in place. With a seed, always with the same numbers."""
    n_layers = len(model.blocks)  # pyright: ignore[reportArgumentType]
    device = next(model.parameters()).device
    generator = None if seed is None else torch.Generator(device).manual_seed(seed)
    own_std: Mapping[str, float] = getattr(model, "starting_std", {})

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            std = next((std for ending, std in own_std.items() if name.endswith(ending)), None)
            if std is not None:
                parameter.normal_(0, std, generator=generator)
            elif name.endswith("bias"):
                parameter.zero_()
            elif parameter.ndim == 1:
                parameter.fill_(1)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter.normal_(0, STD / math.sqrt(2 * n_layers), generator=generator)
            else:
                parameter.normal_(0, STD, generator=generator)


def mimic_trained_attention(model: nn.Module, seed: int = 0) -> None:
    """Starts attention where trained attention is found: a token looks for its like, and passes on what it is.

    In trained transformers the products W_q W_k^T and W_v W_o^T lean towards the identity. Started there, a small model
    learns to look things up in its context within minutes rather than hours. Every second head begins with equal query
    and key weights, and all heads with output weights that undo their value weights, by half. Overwrites in place.

    Trockman & Kolter 2023, arXiv 2305.09828.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for block in model.blocks:  # pyright: ignore[reportGeneralTypeIssues]
            attn = block.attn
            d_model, head_dim = attn.q_proj.in_features, attn.head_dim
            n_kv_heads = attn.k_proj.out_features // head_dim
            n_groups = attn.q_proj.out_features // attn.k_proj.out_features
            for kv_head in range(n_kv_heads):
                rows = slice(kv_head * head_dim, (kv_head + 1) * head_dim)
                likeness, content = (_directions(d_model, head_dim, generator).to(attn.q_proj.weight) for _ in "qv")
                attn.v_proj.weight[rows] = content / 2
                if kv_head % 2 == 0:
                    attn.k_proj.weight[rows] = likeness
                for head in range(kv_head * n_groups, (kv_head + 1) * n_groups):
                    own = slice(head * head_dim, (head + 1) * head_dim)
                    attn.o_proj.weight[:, own] = content.T / (2 * n_groups)
                    if kv_head % 2 == 0:
                        attn.q_proj.weight[own] = likeness


def _directions(d_model: int, head_dim: int, generator: torch.Generator) -> torch.Tensor:
    """head_dim random directions, (head_dim, d_model), at right angles to one another as far as there is room."""
    tall = torch.randn(max(d_model, head_dim), min(d_model, head_dim), generator=generator)
    ortho = torch.linalg.qr(tall)[0]
    return ortho.T if head_dim <= d_model else ortho
