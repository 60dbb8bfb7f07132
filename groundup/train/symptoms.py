"""What the numbers of a run show: rules over the loss and the gradient norm, in blocks of steps.

A single step is noise; blocks of `BLOCK` steps have a mean, and an error of that mean. Every rule is a function of the
`Curve` that returns a `Finding` or None, and is asked once a block.
"""

import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from groundup.train.probes import Finding

BLOCK = 25
"""Steps that are judged together."""
BORDER = 20
"""Steps before and after the border of two epochs that are compared."""


@dataclass(frozen=True, slots=True)
class Block:
    """Steps `first` to `last`: their mean loss, the standard error of it, the median gradient norm, the tokens seen."""

    first: int
    last: int
    loss: float
    error: float
    grad_norm: float
    tokens: float


class Curve:
    """The rows of a run, taken in one by one and kept as blocks."""

    def __init__(self):
        self.first_loss = math.nan
        self.blocks: list[Block] = []
        self.evaluations: list[tuple[int, float]] = []
        self.epoch = 0.0
        self.before: list[float] = []
        """Losses of the last steps before the latest border of two epochs, and those after it."""
        self.after: list[float] = []
        self._steps: list[int] = []
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._tokens: list[float] = []
        self._latest: deque[float] = deque(maxlen=BORDER)

    def add(self, step: int, loss: float, grad_norm: float, epoch: float | None, tokens: float | None) -> bool:
        """Take a step in; True when it completes a block."""
        if math.isnan(self.first_loss):
            self.first_loss = loss
        if epoch is not None:
            if int(epoch) > int(self.epoch):
                self.before, self.after = list(self._latest), []
            self.epoch = epoch
        self._latest.append(loss)
        if len(self.after) < BORDER:
            self.after.append(loss)
        self._steps.append(step)
        self._losses.append(loss)
        self._norms.append(grad_norm)
        self._tokens.append(tokens or 0)
        if len(self._steps) < BLOCK:
            return False
        self.blocks.append(
            Block(
                self._steps[0],
                self._steps[-1],
                statistics.fmean(self._losses),
                statistics.stdev(self._losses) / math.sqrt(BLOCK),
                statistics.median(self._norms),
                statistics.fmean(self._tokens),
            )
        )
        for column in (self._steps, self._losses, self._norms, self._tokens):
            column.clear()
        return True


def too_high(curve: Curve, blocks: Sequence[Block], uniform: float | None) -> Finding | None:
    """The learning rate: the loss lies above guessing, or lost much of what was gained while the gradients grew.

    `blocks` are those after the warm-up; `uniform` is the loss of guessing all ids alike.
    """
    if len(blocks) < 2:
        return None
    hint = "try a third of --lr and --matrix-lr, or more --warmup-steps"
    last = blocks[-2:]
    start = max(curve.first_loss, uniform or 0.0)
    if min(block.loss for block in last) > 1.02 * start:
        evidence = (
            f"in the steps {last[0].first} to {last[1].last} the loss is {_mean(last):.2f}, above the {start:.2f}"
        )
        return Finding("learning_rate_too_high", f"{evidence} of knowing nothing", hint)
    best = min(curve.blocks, key=lambda block: block.loss)
    if best.last >= last[0].first:
        return None
    rise, gained = _mean(last) - best.loss, curve.first_loss - best.loss
    grad_norm = statistics.fmean(block.grad_norm for block in last)
    noise = max(block.error for block in (best, *last))
    if rise > max(0.15 * gained, 4 * noise, 0.02 * best.loss) and grad_norm > 1.4 * best.grad_norm:
        evidence = (
            f"the loss rose from {best.loss:.3f} (to step {best.last}) to {_mean(last):.3f} (to step {last[1].last}), "
            f"and the gradient norm from {best.grad_norm:.2g} to {grad_norm:.2g}"
        )
        return Finding("learning_rate_too_high", evidence, hint)
    return None


def no_loss(curve: Curve) -> Finding | None:
    """Steps without a target have neither a loss nor a gradient."""
    last = curve.blocks[-1]
    if last.loss != 0 or last.grad_norm != 0:
        return None
    evidence = f"loss and gradient norm of the steps {last.first} to {last.last} are exactly zero"
    return Finding("no_targets", evidence, "look at the marks of what is learned with groundup data inspect")


def too_good(curve: Curve, uniform: float | None) -> Finding | None:
    """On rows seen for the first time no model is nearly certain, unless it sees the answer."""
    last = curve.blocks[-1]
    if uniform is None or curve.epoch >= 1 or not 0 < last.loss < 0.05 * uniform:
        return None
    return Finding(
        "too_good",
        f"the loss is {last.loss:.3f} at step {last.last}, in the first epoch, where guessing gives {uniform:.2f}",
        "the answer may be in the input: targets that are not shifted, a mask that lets later ids through; or the text "
        "repeats itself",
    )


def memorised(curve: Curve) -> Finding | None:
    """Where rows come again, the loss of those that were learned by heart falls off a cliff at the first of them."""
    if len(curve.before) < BORDER or len(curve.after) < BORDER:
        return None
    before, after = statistics.fmean(curve.before), statistics.fmean(curve.after)
    error = math.hypot(statistics.stdev(curve.before), statistics.stdev(curve.after)) / math.sqrt(BORDER)
    half = BORDER // 2
    trend = max(0.0, statistics.fmean(curve.before[:half]) - statistics.fmean(curve.before[half:]))
    # From the middle of one to the middle of the other are twice as many steps as from half to half.
    if before - after <= 6 * trend + 4 * error + 0.03 * before:
        return None
    return Finding(
        "memorised",
        f"the training loss fell from {before:.3f} to {after:.3f} where epoch {int(curve.epoch) + 1} began",
        "the model knows its rows by heart: fewer steps, more text, or a smaller model",
    )


def overfitting(curve: Curve) -> Finding | None:
    """The held-out text gets less likely, twice in a row, while the training text gets more so."""
    if len(curve.evaluations) < 3 or not curve.blocks:
        return None
    best_step, best = min(curve.evaluations, key=lambda evaluation: evaluation[1])
    latest = curve.evaluations[-2:]
    then = next((block for block in curve.blocks if block.last >= best_step), curve.blocks[-1])
    if min(val for _, val in latest) < best + max(0.02 * best, 0.01) or curve.blocks[-1].loss >= then.loss:
        return None
    return Finding(
        "overfitting",
        f"the validation loss rose from {best:.3f} at step {best_step} to {latest[-1][1]:.3f}, while the training loss "
        f"fell from {then.loss:.3f} to {curve.blocks[-1].loss:.3f}",
        "the best checkpoint is kept; --patience 3 stops there, more text or --weight-decay 0.1 puts it off",
    )


def _mean(blocks: Sequence[Block]) -> float:
    return statistics.fmean(block.loss for block in blocks)
