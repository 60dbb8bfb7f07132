"""How far our logits are from transformers', for small random models of every family, odd shapes included."""

import tempfile
import warnings
from pathlib import Path
from typing import Any

from harness import Row

LIMITS = {"fp32": 1e-5, "bf16": 2e-2}
SPREAD = {"fp32": 0.2, "bf16": 0.05}
"""Of the random weights. Wide ones make attention far from uniform, where mistakes show; in bf16 they also make each
side err by 2 % against its own fp32, which would hide what is compared."""
T = 48
SHAPES = (
    {"n_layers": 3, "d_model": 48, "n_heads": 6, "n_kv_heads": 2, "vocab_size": 101},
    {
        "n_layers": 2,
        "d_model": 40,
        "n_heads": 5,
        "n_kv_heads": 1,
        "vocab_size": 67,
        "d_ff": 56,
        "tie_embeddings": False,
    },
    {"n_layers": 2, "d_model": 36, "n_heads": 3, "n_kv_heads": 3, "vocab_size": 53, "head_dim": 20},
)


def rows() -> list[Row]:
    """One row for each family and dtype: the largest difference over all shapes."""
    from groundup import models

    known = [name for name in models.names() if not hasattr(models.family(name), "NOT_ELSEWHERE")]
    return [row(name, dtype) for dtype in LIMITS for name in known]


def row(name: str, dtype: str) -> Row:
    result = Row(f"logits, {name}, {dtype}", "apart", peer_name="transformers", limit=LIMITS[dtype])
    differences = [difference(name, shape, dtype) for shape in SHAPES]
    result.ours = max(differences)
    result.note = "largest" if dtype == "fp32" else "relative"
    if dtype == "fp32" and result.ours > LIMITS[dtype]:
        result.failed = f"the logits are {result.ours:.2g} apart"
    return result


def difference(name: str, shape: dict[str, Any], dtype: str) -> float:
    """In fp32 the largest difference of a logit; in bf16 the length of all differences by that of all logits."""
    import torch
    import transformers

    from groundup import models
    from groundup.layers.initialise import initialise
    from groundup.weights import checkpoint

    family = models.family(name)
    known = family.Config.__dataclass_fields__
    config = family.Config(**{key: value for key, value in shape.items() if key in known} | {"context_length": 64})
    model = family.Model(config)
    initialise(model, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=SPREAD[dtype])
        with tempfile.TemporaryDirectory() as folder:
            checkpoint.save(Path(folder, "model"), model)
            # Their grouped product of experts takes widths that are multiples of 8 only.
            plain = {"experts_implementation": "eager"} if hasattr(config, "n_experts") else {}
            theirs = transformers.AutoModelForCausalLM.from_pretrained(Path(folder, "model"), **plain)
        ids = torch.randint(config.vocab_size, (2, T), generator=generator)
        if dtype == "bf16":
            model, theirs = model.bfloat16(), theirs.bfloat16()
        one, other = model.eval()(ids).float(), theirs.eval()(ids).logits.float()
    distance = one - other
    return distance.abs().max().item() if dtype == "fp32" else (distance.norm() / other.norm()).item()
