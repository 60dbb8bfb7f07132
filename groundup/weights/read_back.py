"""What was written is opened again and held to its source: an export that talks nonsense is never handed out.

Tensor by tensor, so that a model larger than memory is checked too, and, where both models fit in memory, by what they
answer to the same ids.
"""

import dataclasses
from dataclasses import dataclass

import torch

from groundup import models
from groundup.errors import ArtefactError
from groundup.weights import portable
from groundup.weights.portable import Portable

ROUNDING = {torch.float32: 0.0, torch.bfloat16: 0.004, torch.float16: 0.0005}
"""The share of a tensor's length that rounding its numbers to a dtype may take away."""
PROBE_LENGTH = 64


@dataclass(frozen=True)
class Proof:
    """How far what was written is from its source; `logits` None where the models were too large to run."""

    n_tensors: int
    rounding: float
    """Of the tensor that lost most, |difference| / |tensor|."""
    logits: float | None
    """The largest difference of a logit, as a share of the largest logit."""
    same_choices: float | None
    """The share of positions at which both find the same id most likely."""


def check(source: Portable, written: Portable, *, allowed: float) -> Proof:
    """ArtefactError naming the tensor that lost more than `allowed` (0 means not a bit)."""
    portable.check(written)
    # Dropout is not part of a model that is handed on, and GGUF has no word for it.
    before, after = (dataclasses.replace(each.config, dropout=0.0) for each in (source, written))
    if before != after:
        raise ArtefactError(f"the configuration came back as {after}, not {before}", where=written.where)
    worst = 0.0
    for name, tensor in source.tensors.items():
        before, after = tensor.load().float(), written.tensors[name].load().float()
        lost = 0.0 if torch.equal(before, after) else _norm(after - before) / max(_norm(before), 1e-30)
        if not lost <= allowed:
            raise ArtefactError(f"{name} came back {lost:.2g} of its length away", where=written.where)
        worst = max(worst, lost)
    logits, same = _answers(source, written) if portable.fits_in_memory(source, copies=2) else (None, None)
    return Proof(len(source.tensors), worst, logits, same)


def _norm(tensor: torch.Tensor) -> float:
    return torch.linalg.vector_norm(tensor).item()


@torch.no_grad()
def _answers(source: Portable, written: Portable) -> tuple[float, float]:
    shape: models.Shape = source.config
    generator = torch.Generator().manual_seed(0)
    length = min(PROBE_LENGTH, shape.context_length)
    ids = torch.randint(shape.vocab_size, (1, length), generator=generator)
    one, other = (portable.build(each, share=True).eval()(ids) for each in (source, written))
    same = (one.argmax(-1) == other.argmax(-1)).float().mean().item()
    return ((one - other).abs().max() / one.abs().max()).item(), same
