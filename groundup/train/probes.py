"""Questions to a batch and to a model that an ordinary training step does not ask: is this wired as it should be?

Each returns what it found as a `Finding`, or None. The model is asked in evaluation mode and without gradients, on one
short row: nothing of it changes, no random number is drawn, and it costs a few forward passes.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from groundup.data.batches import IGNORE, Batch

Loss = Callable[[Any, Batch], tuple[Tensor, Any, dict[str, float]]]

LONGEST_ROW = 128
"""Positions of a row that a model is asked about."""
SAME = 0.98
"""Share of the targets from which on they count as equal to something."""
LEAK = 1e-4
"""Change of a loss that rounding cannot explain: it makes about 1e-6 of it."""
VANISHED = 1e-4
"""Output of a norm, whose entries are about 1, that whatever follows cannot use."""
UNCHANGED = 1e-6


@dataclass(frozen=True)
class Finding:
    """A likely fault: its kind, what shows it, and what helps."""

    kind: str
    evidence: str
    hint: str
    step: int = 0

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')}: {self.evidence}; {self.hint}"

    def event(self) -> dict[str, Any]:
        """For `run.event("finding", **finding.event())`."""
        return {"step": self.step, "finding": self.kind, "evidence": self.evidence, "hint": self.hint}


# --- a batch ---


def targets_of(batch: Batch) -> Finding | None:
    """Are there targets, and are they the ids that follow?"""
    is_target = batch.targets != IGNORE
    if not is_target.any():
        return Finding(
            "no_targets",
            f"none of the {batch.targets.numel():,} positions of the first batch is to be learned",
            "look at the marks with groundup data inspect; the template may not know the assistant's role",
        )
    share = {shift: _share_equal(batch, shift) for shift in (-1, 0, 1, 2, 3)}
    wrong = max((shift for shift in share if shift != 1), key=lambda shift: share[shift])
    if share[1] >= SAME or share[wrong] < SAME:
        return None
    names = {-1: "the id before", 0: "the id itself", 2: "the id after the next", 3: "the id three places on"}
    return Finding(
        "shifted_targets",
        f"{share[wrong]:.0%} of the targets are {names[wrong]}, {share[1]:.0%} are the next id",
        "make targets as ids[1:] of inputs ids[:-1], and shift once only: in the batch or in the loss",
    )


def _share_equal(batch: Batch, shift: int) -> float:
    """Of the targets whose row goes on for so long: how many equal the id `shift` places after their own."""
    T = batch.ids.shape[1]
    here = slice(max(0, -shift), min(T, T - shift))
    there = slice(here.start + shift, here.stop + shift)
    counts = batch.targets[:, here] != IGNORE
    if batch.segments is not None:
        counts &= batch.segments[:, here] == batch.segments[:, there]
    n = int(counts.sum())
    equal = (batch.targets[:, here] == batch.ids[:, there]) & counts
    return int(equal.sum()) / n if n else 0.0


# --- a model ---


def mask_of(model: nn.Module, loss: Loss, batch: Batch) -> Finding | None:
    """Does a position see what comes after it, or another conversation of its row?

    The loss of a few targets is asked twice, the second time with all ids changed that these must not see.
    """
    row = short_row(batch)
    T = row.ids.shape[1]
    changed = _others(row.ids, _n_ids(model))
    with asking(model):
        for end in sorted({max(1, T // 3), max(1, T - 2)}):
            later = torch.arange(T) >= end
            # The last targets before the border: a leak reaches them first.
            asked = ~later & (torch.arange(T) >= end - 4)
            before, after = _asked_twice(model, loss, row, changed, asked[None], later[None])
            if _differ(before, after):
                return Finding(
                    "leaking_mask",
                    f"the loss before position {end} went from {before:.4f} to {after:.4f} when ids from there on "
                    "were changed",
                    "a position must not see later ones: look at the attention mask and at what mixes positions",
                )
        if row.segments is None or int(row.segments.max()) < 2:
            return None
        second = row.segments == 2
        before, after = _asked_twice(model, loss, row, changed, second, row.segments == 1)
    if not _differ(before, after):
        return None
    return Finding(
        "leaking_mask",
        f"the loss of a conversation went from {before:.4f} to {after:.4f} when another one in its row was changed",
        "conversations of a row must not see each other: pass on the batch's segments as a mask, and its positions",
    )


def _asked_twice(
    model: nn.Module, loss: Loss, row: Batch, changed: Tensor, asked: Tensor, hidden: Tensor
) -> tuple[float, float]:
    """The mean loss of the targets `asked` (1, T), as it is and with the ids changed that must be `hidden` (1, T)."""
    # Where a row has no target, any will do: the question is whether a change is seen.
    targets = torch.where(row.targets == IGNORE, row.ids, row.targets)
    targets = torch.where(asked, targets, IGNORE)
    device = next(model.parameters()).device
    n = max(1, int((targets != IGNORE).sum()))
    versions = [row.ids, torch.where(hidden, changed, row.ids)]
    first, second = (
        float(loss(model, replace(row, ids=ids, targets=targets, n_targets=n).to(device))[0]) / n for ids in versions
    )
    return first, second


def _differ(before: float, after: float) -> bool:
    return math.isfinite(before) and not abs(after - before) <= LEAK * max(1.0, abs(before))


def _others(ids: Tensor, n_ids: int) -> Tensor:
    """Another id in place of every one: the one half a vocabulary away."""
    return (ids + max(1, n_ids // 2)) % max(2, n_ids)


def _n_ids(model: nn.Module) -> int:
    """How many ids the model knows, or at least two."""
    return int(getattr(getattr(model, "config", None), "vocab_size", 0)) or 2


def activations_of(model: nn.Module, loss: Loss, batch: Batch, *, is_trained: bool) -> list[Finding]:
    """Norms whose output vanishes or is the same everywhere, and (in a trained model) blocks that add nothing.

    Before training a block may well add nothing: many models start with output projections of zero.
    """
    row = short_row(batch)
    if row.ids.unique().numel() < 2:
        return []
    found: list[Finding | None] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(asking(model))

        def watch(module: nn.Module, name: str, rule: Callable[[str, Tensor, Tensor], Finding | None]) -> None:
            def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
                if isinstance(output, Tensor) and output.ndim == 3:  # (B, T, d_model), not per head
                    found.append(rule(name, args[0].float(), output.float()))

            stack.callback(module.register_forward_hook(hook).remove)

        for name, module in model.named_modules():
            if name.endswith("norm") and any(True for _ in module.parameters(recurse=False)):
                watch(module, name, _norm)
        for i, block in enumerate(getattr(model, "blocks", ()) if is_trained else ()):
            watch(block, f"blocks.{i}", _block)
        loss(model, row.to(next(model.parameters()).device))
    return [finding for finding in found if finding is not None]


def _norm(name: str, x: Tensor, y: Tensor) -> Finding | None:
    size, spread = float(y.square().mean().sqrt()), float(y.std(dim=1).max())
    if size < VANISHED:
        evidence = f"{name} gives numbers of about {size:.1e} where about 1 is usual"
    elif spread < UNCHANGED * size:
        evidence = f"{name} gives the same numbers for every position, whatever the ids are"
    else:
        return None
    return Finding("dead_norm", evidence, "look at its weight and eps, and at what flows into it")


def _block(name: str, x: Tensor, y: Tensor) -> Finding | None:
    change = float((y - x).norm() / x.norm().clamp_min(1e-30))
    if not change < UNCHANGED:
        return None
    evidence = f"{name} changes what passes through it by {change:.1e} of its size"
    return Finding("dead_layer", evidence, "look at its weights, its norms and how it is wired")


def short_row(batch: Batch) -> Batch:
    """The row of a batch with the most conversations, cut to what a question needs."""
    best = 0 if batch.segments is None else int(batch.segments[:, :LONGEST_ROW].amax(dim=1).argmax())
    here = (slice(best, best + 1), slice(0, LONGEST_ROW))
    targets = batch.targets[here]
    segments = None if batch.segments is None else batch.segments[here]
    return Batch(batch.ids[here], targets, segments, int((targets != IGNORE).sum()))


@contextlib.contextmanager
def asking(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, nothing compiled anew for a row of this shape; afterwards all is as it was."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        model.train(was_training)
