"""Learning-rate schedules: pure functions of the step, so that a resumed run continues the same curve.

Each rises linearly from 0 to `lr` over `warmup_steps`, then falls to `min_lr`, in its own way, until `n_steps`, and
stays there. A step may lie between two whole ones: a run that keeps to a wall-clock time counts in fractions.
`cooldown_fraction` is the share of all steps on which `linear` and `wsd` fall; 0 takes their own.
"""

import math
from collections.abc import Callable


def warmup(step: float, lr: float, warmup_steps: float) -> float:
    """The straight line from 0 at step 0 to `lr` at step `warmup_steps`."""
    return lr * step / warmup_steps


def cosine(
    step: float, *, lr: float, min_lr: float, warmup_steps: float, n_steps: float, cooldown_fraction: float = 0.0
) -> float:
    """Half a cosine from `lr` down to `min_lr` (https://arxiv.org/abs/1608.03983, equation 5).

    >>> [round(cosine(s, lr=1.0, min_lr=0.1, warmup_steps=10, n_steps=110), 3) for s in (0, 5, 10, 60, 110, 500)]
    [0.0, 0.5, 1.0, 0.55, 0.1, 0.1]
    """
    if step < warmup_steps:
        return warmup(step, lr, warmup_steps)
    done = min(1.0, (step - warmup_steps) / max(1, n_steps - warmup_steps))
    return min_lr + 0.5 * (1 + math.cos(math.pi * done)) * (lr - min_lr)


def linear(
    step: float, *, lr: float, min_lr: float, warmup_steps: float, n_steps: float, cooldown_fraction: float = 0.0
) -> float:
    """Constant `lr`, then a straight line to `min_lr` over the last 60 % of the steps.

    >>> [round(linear(s, lr=1.0, min_lr=0.0, warmup_steps=10, n_steps=100), 3) for s in (5, 10, 40, 70, 100)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if step < warmup_steps:
        return warmup(step, lr, warmup_steps)
    return lr - cooled(step, warmup_steps, n_steps, cooldown_fraction or 0.6) * (lr - min_lr)


def wsd(
    step: float, *, lr: float, min_lr: float, warmup_steps: float, n_steps: float, cooldown_fraction: float = 0.0
) -> float:
    """Warm-up, stable, decay: constant `lr`, then down along 1 - sqrt over the last 20 % of the steps.

    From the constant part one can go on without having planned to, and the fall is short (the "1-sqrt" cooldown of
    https://arxiv.org/abs/2405.18392).

    >>> [round(wsd(s, lr=1.0, min_lr=0.0, warmup_steps=10, n_steps=100), 3) for s in (5, 10, 80, 85, 90, 100)]
    [0.5, 1.0, 1.0, 0.5, 0.293, 0.0]
    """
    if step < warmup_steps:
        return warmup(step, lr, warmup_steps)
    return lr - math.sqrt(cooled(step, warmup_steps, n_steps, cooldown_fraction or 0.2)) * (lr - min_lr)


def inverse_sqrt(
    step: float, *, lr: float, min_lr: float, warmup_steps: float, n_steps: float, cooldown_fraction: float = 0.0
) -> float:
    """`lr` · sqrt(warmup_steps / step), never below `min_lr`: the Transformer's own, which needs no last step.

    Equation 3 of https://arxiv.org/abs/1706.03762, min(step^-0.5, step · warmup_steps^-1.5), times the number that
    makes its peak, where the two meet, `lr`.

    >>> [round(inverse_sqrt(s, lr=1.0, min_lr=0.0, warmup_steps=10, n_steps=100), 3) for s in (5, 10, 40, 90)]
    [0.5, 1.0, 0.5, 0.333]
    """
    if step < warmup_steps:
        return warmup(step, lr, warmup_steps)
    first = max(1, warmup_steps)
    return max(min_lr, lr * math.sqrt(first / max(step, first)))


def constant(
    step: float, *, lr: float, min_lr: float, warmup_steps: float, n_steps: float, cooldown_fraction: float = 0.0
) -> float:
    """`lr` for ever after the warm-up; `min_lr` and `n_steps` play no part."""
    return warmup(step, lr, warmup_steps) if step < warmup_steps else lr


def cooled(step: float, warmup_steps: float, n_steps: float, cooldown_fraction: float) -> float:
    """How far into the cooldown: 0 until it begins, 1 at the end. It never begins before the warm-up is over."""
    cooldown_steps = max(1, min(cooldown_fraction * n_steps, n_steps - warmup_steps))
    return min(1.0, max(0.0, 1 - (n_steps - step) / cooldown_steps))


SCHEDULES: dict[str, Callable[..., float]] = {
    "cosine": cosine,
    "linear": linear,
    "wsd": wsd,
    "inverse_sqrt": inverse_sqrt,
    "constant": constant,
}
