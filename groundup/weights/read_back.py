"""What was written is opened again and held to its source: an export that talks nonsense is never handed out.

Tensor by tensor, so that a model larger than memory is checked too, and, where both models fit in memory, by what they
answer to the same ids.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from groundup import config as configs
from groundup import models
from groundup.errors import ArtefactError
from groundup.weights import contract, portable
from groundup.weights.portable import Portable

PROBE_LENGTH = 64
STRETCH = 1 << 20
"""Numbers that are compared at a time."""
MOST_LOST = 0.05
"""The share of a tensor's length that may be lost, however good the reason; four bits need more."""


@dataclass(frozen=True)
class Rounding:
    """What writing in a dtype takes away: at most a share of a tensor's length, and so much of numbers near zero."""

    dtype: str
    share: float = 0.0
    near_zero: float = 0.0
    most: float = MOST_LOST
    """The share that may be lost all in all."""


EXACT = Rounding("F32")
ROUNDINGS = {
    each.dtype: each
    for each in (
        EXACT,
        Rounding("BF16", 2**-8),
        Rounding("F16", 2**-11, 2**-25),
        # A step is 1/127 of the largest of 32 numbers, of each of which half a step may go; a scale is F16.
        Rounding("Q8_0", math.sqrt(32) / 2 / 127 + 2**-11, 127 * 2**-25),
        # A step is 1/8 of the largest; half a step may go, and a whole one of the largest on the other side of zero.
        Rounding("Q4_0", 3 / 8 + 2**-11, 8 * 2**-25, most=0.4),
    )
}


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


def check(source: Portable, written: Portable, rounding: Rounding = EXACT) -> Proof:
    """ArtefactError naming the tensor that lost more than rounding takes, or a setting that came back otherwise."""
    portable.check(written)
    # Dropout is not part of a model that is handed on, and GGUF has no word for it.
    before, after = (dataclasses.replace(each.config, dropout=0.0) for each in (source, written))
    if before != after:
        pairs = contract.differing_values(configs.to_dict(before), configs.to_dict(after))
        listed = ", ".join(f"{name} is {theirs!r}, and was {ours!r}" for name, ours, theirs in pairs if ours != theirs)
        what = f"the configuration came back otherwise: {listed or written.family}"
        raise ArtefactError(what, where=written.where)
    worst = 0.0
    for name, tensor in source.tensors.items():
        length, lost = _compare(tensor.load(), written.tensors[name].load())
        share = lost / max(length, 1e-300)
        if not lost <= rounding.share * length + rounding.near_zero * math.sqrt(math.prod(tensor.shape)):
            raise ArtefactError(f"{name} came back {share:.2g} of its length away", where=written.where)
        if share > rounding.most:
            raise ArtefactError(
                f"{name} has numbers so near zero that {rounding.dtype} would lose {share:.2g} of its length",
                where=source.where,
                hint="--weights bf16 or fp32 holds them",
            )
        worst = max(worst, share)
    logits, same = _answers(source, written) if portable.fits_in_memory(source, copies=2) else (None, None)
    return Proof(len(source.tensors), worst, logits, same)


def _compare(before: Tensor, after: Tensor) -> tuple[float, float]:
    """(|before|, |after - before|), a stretch at a time: a whole tensor in fp32 may be too large."""
    length = lost = 0.0
    for one, other in zip(before.reshape(-1).split(STRETCH), after.reshape(-1).split(STRETCH), strict=True):
        one, other = one.double(), other.double()
        length += one.square().sum().item()
        lost += (other - one).square().sum().item()
    return math.sqrt(length), math.sqrt(lost)


@torch.no_grad()
def _answers(source: Portable, written: Portable) -> tuple[float, float]:
    shape: models.Shape = source.config
    generator = torch.Generator().manual_seed(0)
    length = min(PROBE_LENGTH, shape.context_length)
    ids = torch.randint(shape.vocab_size, (1, length), generator=generator)
    one, other = (portable.build(each, share=True).eval()(ids) for each in (source, written))
    if not (one.isfinite().all() and other.isfinite().all()):
        raise ArtefactError("the model's answers are not finite", where=source.where)
    same = (one.argmax(-1) == other.argmax(-1)).float().mean().item()
    return ((one - other).abs().max() / one.abs().max().clamp(min=1e-30)).item(), same
