"""From the logits of the next position to a token id: filters, then one draw.

A filter is a pure function: logits in, logits out, one idea each, listed in the order they apply in FILTERS at the
foot of this file. What is ruled out gets a logit of -inf. Nothing here knows a model, a cache or a tokenizer.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import xxhash
from torch import Tensor

from groundup.inference.settings import Settings

RULED_OUT = -math.inf


def penalise_repetition(logits: Tensor, penalty: float, seen: Tensor | None) -> Tensor:
    """Makes tokens that occurred before less likely (CTRL, arXiv:1909.05858, section 4.1).

    `seen` is a boolean (..., vocab_size). A positive logit is divided by the penalty and a negative one multiplied:
    with a penalty of 2, a seen token falls from 3 to 1.5, or from -1 to -2.
    """
    if seen is None:
        return logits
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def scale_temperature(logits: Tensor, temperature: float, seen: Tensor | None = None) -> Tensor:
    """Sharpens (below 1) or flattens (above 1) the distribution; the limit 0, the likeliest token, is `sample`'s."""
    return logits / temperature


def keep_top_k(logits: Tensor, k: int, seen: Tensor | None = None) -> Tensor:
    """Keeps the k likeliest tokens, and those that tie with the last of them."""
    if k >= logits.shape[-1]:
        return logits
    smallest_kept = logits.topk(k).values[..., -1:]
    return logits.masked_fill(logits < smallest_kept, RULED_OUT)


def keep_top_p(logits: Tensor, p: float, seen: Tensor | None = None) -> Tensor:
    """Keeps the nucleus (arXiv:1904.09751, section 3.1): the smallest set of likeliest tokens that together reach p.

    The likeliest token always stays. With probabilities 0.5, 0.3, 0.2: p = 0.5 keeps one token, p = 0.6 two,
    p = 0.8 two, p = 0.81 three.
    """
    if p >= 1:
        return logits
    ordered, order = logits.sort(descending=True, stable=True)
    probs = ordered.double().softmax(-1)
    sum_before = probs.cumsum(-1) - probs

    # 0.5 + 0.3 comes out a hair below or above 0.8: a set that reaches p up to rounding has reached it.
    is_outside = sum_before >= p - 1e-6
    is_outside[..., 0] = False
    return logits.masked_fill(is_outside.scatter(-1, order, is_outside), RULED_OUT)


def keep_min_p(logits: Tensor, min_p: float, seen: Tensor | None = None) -> Tensor:
    """Drops tokens whose probability is below `min_p` times that of the likeliest one (arXiv:2407.01082)."""
    if min_p == 0:
        return logits
    return logits.masked_fill(logits < logits.amax(-1, keepdim=True) + math.log(min_p), RULED_OUT)


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Ids (B,) from logits (B, vocab_size) and one number in [0, 1) for each row.

    The cumulated probabilities divide [0, 1) into one stretch per token; the number falls into one of them.
    """
    cumulated = logits.double().softmax(-1).cumsum(-1)
    threshold = uniform.to(cumulated)[:, None] * cumulated[:, -1:]
    return torch.searchsorted(cumulated, threshold, right=True)[:, 0]


def sample(logits: Tensor, settings: Settings, seen: Tensor | None, uniform: Tensor) -> Tensor:
    """The next id of each row, (B,), after all filters whose setting is not neutral.

    logits: (B, vocab_size). seen: (B, vocab_size), true for the ids of the text so far; None if nothing penalises
    them. uniform: (B,), numbers in [0, 1).
    """
    if settings.temperature == 0:
        return penalise_repetition(logits, settings.repetition_penalty, seen).argmax(-1)
    for name, neutral, apply in FILTERS:
        value = getattr(settings, name)
        if value != neutral:
            logits = apply(logits, value, seen)
    return draw(logits, uniform)


def noise(seed: int, prompt: Sequence[int], copy: int = 0) -> np.random.Generator:
    """The stream of numbers from which one sequence is drawn.

    It depends on the seed, the prompt and which copy of this prompt it is, and on nothing else: a sequence gets the
    same text whatever its neighbours in the batch and whatever the device.
    """
    fingerprint = xxhash.xxh3_64_intdigest(np.asarray(prompt, dtype=np.int64).tobytes())
    return np.random.Generator(np.random.PCG64([seed, copy, fingerprint]))


Filter = Callable[..., Tensor]

# Name of the setting, the value at which it does nothing, the filter.
FILTERS: tuple[tuple[str, float, Filter], ...] = (
    ("repetition_penalty", 1.0, penalise_repetition),
    ("temperature", 1.0, scale_temperature),
    ("top_k", 0, keep_top_k),
    ("top_p", 1.0, keep_top_p),
    ("min_p", 0.0, keep_min_p),
)
