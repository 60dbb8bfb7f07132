"""The doctor: watches a run and names the likely fault, with the evidence for it and what helps.

    no_targets, shifted_targets     the batch itself, before step 0
    leaking_mask, dead_norm         the model's answers to a row, before step 0 and at every evaluation
    dead_layer                      gradients that stay zero; blocks that add nothing
    looping_data                    the same rows again within an epoch
    learning_rate_too_high          the loss rises with the gradients, or is worse than guessing
    learning_rate_too_low           it hardly falls, and the weights hardly move
    not_learning                    it does not fall, though the weights move; or they do not move at all
    too_good                        almost no loss on rows that were never seen before
    memorised, overfitting          the training loss drops where an epoch begins; validation gets worse again
    above_reference                 a recipe's own curve lies clearly below

A finding is told once a run and changes nothing. Where several ranks train, each may ask, and the main one tells.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from groundup.data.batches import Batch
from groundup.train import probes, symptoms
from groundup.train.config import TrainConfig
from groundup.train.probes import Finding, Loss
from groundup.train.reference import Reference, above_reference
from groundup.train.repeated_rows import RepeatedRows

__all__ = ["Doctor", "Finding"]

FEWEST_BLOCKS = 8
"""Steps after the warm-up, in blocks, until a loss that does not fall is a fault."""


class Doctor:
    """One for a run. Each method returns what is new; the loop hands that to `run.event` and `watch.note`."""

    def __init__(self, config: TrainConfig, loss: Loss, reference: Reference = ()):
        self.config, self.loss, self.reference = config, loss, reference
        self._told: set[str] = set()
        self._probe: Batch | None = None
        self._uniform: float | None = None
        self._start: dict[str, Tensor] = {}
        self._dead: dict[str, int] = {}
        self._rows = RepeatedRows()
        self._curve = symptoms.Curve()

    # --- asked before the first step, and at each evaluation ---

    def before(self, model: nn.Module, batches: Any, step: int = 0) -> list[Finding]:
        """Look at a batch and at the model's answers to it; `step` is where the run begins or goes on."""
        batch = self._probe = batches.batch(step)
        n_ids = getattr(getattr(model, "config", None), "vocab_size", 0)
        self._uniform = math.log(n_ids) if n_ids > 1 else None
        self._start = _samples(model)
        self._rows.follow(batches)
        if not _is_whole(model):
            return self._new(step, [probes.targets_of(batch)])
        found = [probes.targets_of(batch), probes.mask_of(model, self.loss, batch)]
        found += probes.activations_of(model, self.loss, batch, is_trained=False)
        return self._new(step, found)

    def examine(self, model: nn.Module, step: int) -> list[Finding]:
        """The same questions to the model as it is after `step` updates; for each evaluation."""
        if self._probe is None or step <= self.config.warmup_steps or not _is_whole(model):
            return []
        found = [probes.mask_of(model, self.loss, self._probe)]
        found += probes.activations_of(model, self.loss, self._probe, is_trained=True)
        return self._new(step, found)

    # --- called every step ---

    def saw(self, step: int, batch: Batch) -> None:
        """A batch or micro-batch of `step` (from 0) is about to be trained on; it is still on the CPU."""
        self._rows.add(step, batch)

    def gradients(self, step: int, model: nn.Module) -> None:
        """Between the backward pass and the update of `step` (from 0). Looks at some steps, fewer in the long run."""
        if step & (step - 1) and step % 100:  # a power of two, or a hundred
            return
        if not _is_whole(model):
            return
        named = [(name, weight.grad) for name, weight in model.named_parameters() if weight.requires_grad]
        gradients = [gradient for _, gradient in named if gradient is not None]
        norms = torch._foreach_norm(gradients) if gradients else []  # pyright: ignore[reportPrivateImportUsage]
        sizes = iter(torch.stack(list(norms)).tolist() if gradients else [])
        for name, gradient in named:
            is_zero = gradient is None or next(sizes) == 0
            self._dead[name] = self._dead.get(name, 0) + 1 if is_zero else 0

    def look(self, row: Mapping[str, Any], model: nn.Module | None = None) -> list[Finding]:
        """After every row of metrics.jsonl, of a step or of an evaluation. `model` is asked how far its weights moved.

        Costs microseconds, but for every `BLOCK`-th step.
        """
        step = int(row["step"])
        curve = self._curve
        if row.get("val_loss") is not None:
            curve.evaluations.append((step, float(row["val_loss"])))
            return self._new(step, [symptoms.overfitting(curve)])
        loss, grad_norm = row.get("train_loss"), row.get("grad_norm")
        if loss is None or grad_norm is None or not math.isfinite(loss + grad_norm):
            return []
        is_full = curve.add(step, loss, grad_norm, row.get("epoch"), row.get("tokens"))
        if not is_full:
            return []
        return self._new(step, self._rules(model))

    def _rules(self, model: nn.Module | None) -> list[Finding | None]:
        curve, uniform, config = self._curve, self._uniform, self.config
        found = [self._rows.finding(), _dead_layer(self._dead), symptoms.memorised(curve), symptoms.no_loss(curve)]
        if self._probe is None or self._probe.segments is None:  # the replies of conversations can be certain
            found.append(symptoms.too_good(curve, uniform))
        if self.reference:
            found.append(above_reference(self.reference, curve.blocks))
        after_warmup = [block for block in curve.blocks if block.first > config.warmup_steps]
        too_high = symptoms.too_high(curve, after_warmup, uniform)
        found.append(too_high)
        if too_high is None and uniform is not None and len(after_warmup) >= FEWEST_BLOCKS:
            found.append(self._not_falling(uniform, model))
        return found

    def _not_falling(self, uniform: float, model: nn.Module | None) -> Finding | None:
        """Too low a rate, weights that stand still, or nothing to learn: a run from fresh weights that stays there."""
        first, last = self._curve.first_loss, self._curve.blocks[-1]
        fall = first - last.loss
        if first < 0.7 * uniform or fall > 0.05 * uniform or "learning_rate_too_high" in self._told:
            return None
        moved = None if model is None or not self._start else _moved(self._start, model)
        said = f"after {last.last} steps the loss is {last.loss:.3f}, at the first it was {first:.3f}"
        if moved is None or 1e-6 <= moved < 0.3:
            how = "" if moved is None else f", and the weights moved by {moved:.1%} of their size"
            return Finding("learning_rate_too_low", said + how, "try three to ten times --lr and --matrix-lr")
        if moved < 1e-6:
            hint = "the learning rate is zero, or the optimizer does not have this model's weights"
            return Finding("not_learning", f"{said}, and the weights are what they were", hint)
        hint = "targets may not belong to their ids, or the data has no pattern: groundup data inspect shows it"
        return Finding("not_learning", f"{said}, though the weights moved by {moved:.0%} of their size", hint)

    def _new(self, step: int, found: Iterable[Finding | None]) -> list[Finding]:
        """Those of a kind that was not told yet."""
        new: list[Finding] = []
        for finding in found:
            if finding is not None and finding.kind not in self._told:
                self._told.add(finding.kind)
                new.append(Finding(finding.kind, finding.evidence, finding.hint, step))
        return new


def _dead_layer(n_zero: Mapping[str, int]) -> Finding | None:
    """`n_zero`: at how many looks in a row the gradient of each parameter was exactly zero, or absent."""
    dead = [name for name, n in n_zero.items() if n >= 4]
    if not dead or len(dead) == len(n_zero):
        return None
    kind = "dead_norm" if all("norm" in name for name in dead) else "dead_layer"
    named = ", ".join(dead[:4]) + (f" and {len(dead) - 4} more" if len(dead) > 4 else "")
    evidence = f"at the last {min(n_zero[name] for name in dead)} looks the gradient of {named} was exactly zero"
    return Finding(kind, evidence, "it learns nothing: look at what comes before and after it, and whether it is used")


def _is_whole(model: nn.Module) -> bool:
    """Does this process hold all of the model? A part of one (FSDP) cannot be asked by one rank alone."""
    return not any(hasattr(weight, "to_local") for weight in model.parameters())


def _samples(model: nn.Module) -> dict[str, Tensor]:
    """Some entries of every parameter that is trained; none of a model that lies on several devices."""
    if not _is_whole(model):
        return {}
    return {name: _sample(weight) for name, weight in model.named_parameters() if weight.requires_grad}


def _sample(weight: Tensor) -> Tensor:
    """Up to 64 entries of a parameter, evenly apart, as fp32 on the CPU."""
    flat = weight.detach().flatten()
    return flat[:: max(1, flat.numel() // 64)][:64].float().cpu().clone()


def _moved(start: Mapping[str, Tensor], model: nn.Module) -> float:
    """How far the sampled weights went, as a share of their own size at the start."""
    now = {name: _sample(weight) for name, weight in model.named_parameters() if name in start}
    distance = sum(float((now[name] - start[name]).square().sum()) for name in now)
    size = sum(float(start[name].square().sum()) for name in now)
    return math.sqrt(distance / max(size, 1e-30))
