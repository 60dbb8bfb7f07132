"""From the logits of the next position to a token id: filters, then one draw.

A filter is a pure function of the logits of one sequence, float32 (vocab_size,): logits in, other logits out, one
idea each, listed in the order they apply in FILTERS at the foot of this file. What is ruled out gets a logit of
-inf. Nothing here knows a model, a cache, a tokenizer or torch.

A vocabulary may have 150,000 tokens, and this runs for every new one: so only what may be kept is sorted, and only
sums are in float64.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xxhash

from groundup.errors import ArtefactError
from groundup.inference.history import History, after_last
from groundup.inference.settings import Settings

RULED_OUT = -math.inf
# 0.5 + 0.3 comes out a hair below or above 0.8: a set that reaches p up to rounding has reached it.
ROUNDING = 1e-6


# --- what the text so far changes ---


def add_bias(logits: np.ndarray, bias: Sequence[tuple[int, float]], history: History) -> np.ndarray:
    """Adds a number to the logits of some ids; -100 forbids one, 100 all others."""
    changed = logits.copy()
    for id_, number in bias:
        changed[id_] += number
    return changed


def penalise_repetition(logits: np.ndarray, penalty: float, history: History) -> np.ndarray:
    """Makes the ids of prompt and text less likely (CTRL, arXiv:1909.05858, section 4.1).

    A positive logit is divided by the penalty and a negative one multiplied: with a penalty of 2, a token that
    occurred falls from 3 to 1.5, or from -1 to -2.
    """
    changed = logits.copy()
    seen = logits[history.array]
    # An id that occurred twice is written twice, with the same number.
    changed[history.array] = np.where(seen > 0, seen / penalty, seen * penalty)
    return changed


def penalise_presence(logits: np.ndarray, penalty: float, history: History) -> np.ndarray:
    """Subtracts the penalty from every id written so far, the prompt left out, however often (as OpenAI's API)."""
    changed = logits.copy()
    changed[list(history.counts)] -= penalty
    return changed


def penalise_frequency(logits: np.ndarray, penalty: float, history: History) -> np.ndarray:
    """Subtracts the penalty from an id once for each time it was written, the prompt left out (as OpenAI's API)."""
    changed = logits.copy()
    times = np.fromiter(history.counts.values(), dtype=logits.dtype, count=len(history.counts))
    changed[list(history.counts)] -= penalty * times
    return changed


def forbid_repeated_ngrams(logits: np.ndarray, n: int, history: History) -> np.ndarray:
    """Rules out every id that would write a run of n ids, in prompt or text, a second time (arXiv:1705.04304, 2.5).

    After 5 6 7 5 6, n = 3 rules out 7. Where it would rule out everything, it rules out nothing.
    """
    changed = logits.copy()
    changed[history.array[after_last(history.array, n - 1)]] = RULED_OUT
    return changed if np.isfinite(changed.max()) else logits


# --- what the distribution itself decides ---


def scale_temperature(logits: np.ndarray, temperature: float, history: History) -> np.ndarray:
    """Sharpens (below 1) or flattens (above 1) the distribution; the limit 0, the likeliest token, is `choose`'s.

    The likeliest token is moved to 0 first, and float32 has its limits: otherwise a temperature near 0 would make
    infinities of large logits.
    """
    return (logits - logits.max()) / min(max(temperature, 1e-30), 1e30)


def keep_top_k(logits: np.ndarray, k: int, history: History) -> np.ndarray:
    """Keeps the k likeliest tokens, and those that tie with the last of them."""
    if k == 0 or k >= len(logits):
        return logits
    return np.where(logits < _kth(logits, k), RULED_OUT, logits)


def keep_typical(logits: np.ndarray, p: float, history: History) -> np.ndarray:
    """Keeps the tokens whose surprise, -log p, is nearest to the expected one, the entropy (arXiv:2202.00666).

    They are taken from the nearest on until they together reach p; tokens that tie with the last stay. Unlike top_p
    this may drop the likeliest token, where most of the probability lies elsewhere.
    """
    if p >= 1:
        return logits
    top, log_total = _normaliser(logits)
    logprobs = logits - (top + log_total)
    probs = np.exp(logprobs)
    entropy = -float((probs * np.maximum(logprobs, -200)).sum(dtype=np.float64))  # 0 · -inf is 0 here
    distance = np.abs(logprobs + entropy)

    # The tokens at or above a probability of (1 - p) / vocab_size together reach p. So none is needed that is further
    # away than the two ends of their range, the least likely and the likeliest.
    furthest = max(math.log(len(logits) / (1 - p)) - entropy, abs(entropy - log_total))
    near = np.flatnonzero(distance <= furthest + 1e-3)
    near = near[np.argsort(distance[near])]
    reached = np.cumsum(probs[near], dtype=np.float64)
    last = near[min(np.searchsorted(reached, p - ROUNDING), len(near) - 1)]
    return np.where(distance > distance[last], RULED_OUT, logits)


def keep_top_p(logits: np.ndarray, p: float, history: History) -> np.ndarray:
    """Keeps the nucleus (arXiv:1904.09751, section 3.1): the smallest set of likeliest tokens that together reach p.

    The likeliest token always stays. With probabilities 0.5, 0.3, 0.2: p = 0.5 keeps one token, p = 0.6 two,
    p = 0.8 two, p = 0.81 three.
    """
    if p >= 1:
        return logits
    top, log_total = _normaliser(logits)
    # All tokens below a probability of (1 - p) / vocab_size weigh less than 1 - p together: none is in the nucleus.
    floor = top + log_total + math.log((1 - p) / len(logits))
    ordered = np.sort(logits[logits >= min(floor, top)])[::-1]
    reached = np.cumsum(np.exp(ordered.astype(np.float64) - top - log_total))
    n_kept = min(int(np.searchsorted(reached, p - ROUNDING)) + 1, len(ordered))

    kept = np.flatnonzero(logits >= ordered[n_kept - 1])
    ties = kept[logits[kept] == ordered[n_kept - 1]]
    narrowed = np.full_like(logits, RULED_OUT)
    narrowed[kept] = logits[kept]
    narrowed[ties[len(ties) - (len(kept) - n_kept) :]] = RULED_OUT  # of equal tokens, as many as are needed
    return narrowed


def keep_min_p(logits: np.ndarray, min_p: float, history: History) -> np.ndarray:
    """Drops tokens whose probability is below `min_p` times that of the likeliest one (arXiv:2407.01082)."""
    if min_p == 0:
        return logits
    return np.where(logits < logits.max() + math.log(min_p), RULED_OUT, logits)


# --- the choice ---


def choose(logits: np.ndarray, settings: Settings, history: History, uniform: float) -> int:
    """The next id, after all filters whose setting is not neutral.

    uniform: the number in [0, 1) that decides. At temperature 0 it is the likeliest id after what the text so far
    changes, and no number decides anything. Raises ArtefactError as `checked` does.
    """
    logits = checked(logits)
    for name, neutral, apply in FILTERS:
        value = getattr(settings, name)
        if name == "temperature" and value == 0:
            return int(logits.argmax())
        if value != neutral:
            logits = apply(logits, value, history)
    return draw(logits, uniform)


def checked(logits: np.ndarray) -> np.ndarray:
    """The logits, if they are numbers; else ArtefactError. Some may be -inf."""
    if not math.isfinite(logits.max()):
        raise ArtefactError(
            "The model's logits are not finite numbers, so no token can be chosen.",
            hint="its weights are damaged, or too large for the dtype: `groundup verify` looks at them",
        )
    return logits


def penalise(logits: np.ndarray, settings: Settings, history: History) -> np.ndarray:
    """Only what the text so far changes: the filters before the temperature, for those who do not draw."""
    for name, neutral, apply in FILTERS:
        if name == "temperature":
            break
        if getattr(settings, name) != neutral:
            logits = apply(logits, getattr(settings, name), history)
    return logits


def draw(logits: np.ndarray, uniform: float) -> int:
    """An id from one number in [0, 1).

    The cumulated probabilities divide [0, 1) into one stretch per token; the number falls into one of them.
    """
    left = np.flatnonzero(logits > RULED_OUT)
    cumulated = np.cumsum(np.exp(logits[left] - logits.max()), dtype=np.float64)
    return int(left[np.searchsorted(cumulated, uniform * cumulated[-1], side="right")])


def noise(seed: int, prompt: Sequence[int], copy: int = 0) -> np.random.Generator:
    """The stream of numbers from which one sequence is drawn.

    It depends on the seed, the prompt and which copy of this prompt it is, and on nothing else: a sequence gets the
    same text whatever its neighbours in the batch and whatever the device.
    """
    fingerprint = xxhash.xxh3_64_intdigest(np.asarray(prompt, dtype=np.int64).tobytes())
    return np.random.Generator(np.random.PCG64([seed, copy, fingerprint]))


# --- what is told about the choice ---


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """log softmax, float32 (vocab_size,)."""
    top, log_total = _normaliser(logits)
    return (logits - top) - log_total


def log_probability(logits: np.ndarray, id_: int) -> float:
    """Of one id, under the model itself: before temperature and filters."""
    top, log_total = _normaliser(logits)
    return float(logits[id_]) - top - log_total


def alternatives(logits: np.ndarray, k: int) -> list[tuple[int, float]]:
    """The k likeliest ids, best first, with their log-probabilities; all of them where there are fewer."""
    top, log_total = _normaliser(logits)
    return [(int(id_), float(logits[id_]) - top - log_total) for id_ in likeliest(logits, k)]


def likeliest(scores: np.ndarray, k: int) -> np.ndarray:
    """The places of the k largest numbers, largest first, of equal ones the first: int64 (k,)."""
    if k <= 0:
        return np.empty(0, dtype=np.int64)
    candidates = np.flatnonzero(scores >= _kth(scores, min(k, len(scores))))
    return candidates[np.argsort(-scores[candidates], kind="stable")][:k]


def _kth(scores: np.ndarray, k: int) -> Any:
    """The k-th largest number."""
    return np.partition(scores, len(scores) - k)[len(scores) - k]


def _normaliser(logits: np.ndarray) -> tuple[float, float]:
    """(the largest logit, the log of the sum of exp(logit - largest)): what a logit lacks to a log-probability."""
    top = logits.max()
    return float(top), math.log(np.exp(logits - top).sum(dtype=np.float64))


Filter = Callable[[np.ndarray, Any, History], np.ndarray]

# Name of the setting, the value at which it does nothing, the filter. Those before the temperature look at the text
# so far, and also change what is likeliest.
FILTERS: tuple[tuple[str, Any, Filter], ...] = (
    ("logit_bias", (), add_bias),
    ("repetition_penalty", 1.0, penalise_repetition),
    ("presence_penalty", 0.0, penalise_presence),
    ("frequency_penalty", 0.0, penalise_frequency),
    ("no_repeat_ngram", 0, forbid_repeated_ngrams),
    ("temperature", 1.0, scale_temperature),
    ("top_k", 0, keep_top_k),
    ("typical_p", 1.0, keep_typical),
    ("top_p", 1.0, keep_top_p),
    ("min_p", 0.0, keep_min_p),
)
