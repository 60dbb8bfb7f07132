"""Learning-rate schedules: pure functions of the step, so that a resumed run continues the same curve.

Each rises linearly from 0 to `lr` over `warmup_steps`, then falls to `min_lr` at `n_steps` and stays there.
"""

import math
from collections.abc import Callable


def warmup(step: int, lr: float, warmup_steps: int) -> float:
    """The straight line from 0 at step 0 to `lr` at step `warmup_steps`."""
    return lr * step / warmup_steps


def cosine(step: int, *, lr: float, min_lr: float, warmup_steps: int, n_steps: int) -> float:
    """Half a cosine from `lr` down to `min_lr` (https://arxiv.org/abs/1608.03983, equation 5).

    >>> [round(cosine(s, lr=1.0, min_lr=0.1, warmup_steps=10, n_steps=110), 3) for s in (0, 5, 10, 60, 110, 500)]
    [0.0, 0.5, 1.0, 0.55, 0.1, 0.1]
    """
    if step < warmup_steps:
        return warmup(step, lr, warmup_steps)
    done = min(1.0, (step - warmup_steps) / max(1, n_steps - warmup_steps))
    return min_lr + 0.5 * (1 + math.cos(math.pi * done)) * (lr - min_lr)


def linear(
    step: int, *, lr: float, min_lr: float, warmup_steps: int, n_steps: int, cooldown_fraction: float = 0.6
) -> float:
    """Constant `lr`, then a straight line to `min_lr` over the last `cooldown_fraction` of the steps.

    >>> [round(linear(s, lr=1.0, min_lr=0.0, warmup_steps=10, n_steps=100), 3) for s in (5, 10, 40, 70, 100)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if step < warmup_steps:
        return warmup(step, lr, warmup_steps)
    cooldown_steps = max(1, min(round(cooldown_fraction * n_steps), n_steps - warmup_steps))
    left = min(1.0, max(0.0, (n_steps - step) / cooldown_steps))
    return min_lr + left * (lr - min_lr)


def constant(step: int, *, lr: float, min_lr: float, warmup_steps: int, n_steps: int) -> float:
    """`lr` for ever after the warm-up; `min_lr` and `n_steps` play no part."""
    return warmup(step, lr, warmup_steps) if step < warmup_steps else lr


SCHEDULES: dict[str, Callable[..., float]] = {"cosine": cosine, "linear": linear, "constant": constant}
