"""What a person may set about generation, in one record that needs no torch.

Commands, the Python faces and every engine take this record, so that a setting has one name, one default and one
check everywhere. What the settings do to logits is in `sampling.py`.
"""

import math
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from groundup.errors import UsageError

# What is added to a logit or multiplies it: far more than any model's logits span, and far from float32's end.
MOST = 1000


# What only counts where tokens are drawn.
DRAWING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "seed", "n_alternatives")


@dataclass(frozen=True)
class Settings:
    """How to choose the next token, and when to stop."""

    max_new_tokens: int = 200
    """stop after this many new tokens"""
    temperature: float = 0.8
    """divide the logits by this: below 1 is more certain, above 1 more varied, 0 always takes the likeliest token"""
    top_k: int = 0
    """keep only the k likeliest tokens; 0 keeps all"""
    top_p: float = 0.95
    """keep the smallest set of likeliest tokens whose probabilities reach p; 1 keeps all"""
    min_p: float = 0.0
    """drop tokens less likely than this share of the likeliest one's probability; 0 drops none"""
    typical_p: float = 1.0
    """keep the tokens that surprise as much as is usual here, until their probabilities reach p; 1 keeps all"""
    repetition_penalty: float = 1.0
    """make every token of the text so far, prompt included, less likely by this factor; 1 changes nothing"""
    presence_penalty: float = 0.0
    """subtract this from the logit of every token written so far; 0 changes nothing"""
    frequency_penalty: float = 0.0
    """subtract this from a token's logit for each time it was written so far; 0 changes nothing"""
    no_repeat_ngram: int = 0
    """write no run of this many tokens a second time; 0 allows all"""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """add to the logit of a token: id=number, as in 50256=-100, which forbids it"""
    seed: int | None = None
    """the same seed gives the same text; without one each call draws its own"""
    stop_ids: tuple[int, ...] = ()
    """token ids that end the text, beside those that the tokenizer names"""
    stop: tuple[str, ...] = ()
    """strings that end the text and are not part of it"""
    n_alternatives: int = 0
    """tell the log-probabilities of this many likeliest tokens at every step"""
    beams: int = 0
    """look for the likeliest text on this many paths at once, in place of drawing tokens; 0 draws"""
    length_penalty: float = 1.0
    """of beams: 0 favours short texts, 1 compares the means of their log-probabilities, more favours long ones"""

    def __post_init__(self) -> None:
        biased = [id_ for id_, _ in self.logit_bias]
        checks = {
            "max_new_tokens": (self.max_new_tokens >= 1, "at least 1"),
            "temperature": (0 <= self.temperature < math.inf, "0 or more"),
            "top_k": (self.top_k >= 0, "0 (all tokens) or more"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "min_p": (0 <= self.min_p <= 1, "between 0 and 1"),
            "typical_p": (0 < self.typical_p <= 1, "above 0 and at most 1"),
            "repetition_penalty": (1 / MOST <= self.repetition_penalty <= MOST, f"between {1 / MOST} and {MOST}"),
            "presence_penalty": (abs(self.presence_penalty) <= MOST, f"between -{MOST} and {MOST}"),
            "frequency_penalty": (abs(self.frequency_penalty) <= MOST, f"between -{MOST} and {MOST}"),
            "no_repeat_ngram": (self.no_repeat_ngram >= 0, "0 (all are allowed) or more"),
            "logit_bias": (
                all(id_ >= 0 and abs(number) <= MOST for id_, number in self.logit_bias)
                and len(set(biased)) == len(biased),
                f"pairs of a token id, each named once, and a number between -{MOST} and {MOST}",
            ),
            "seed": (self.seed is None or self.seed >= 0, "0 or more"),
            "stop": (all(self.stop), "text that is not empty"),
            "n_alternatives": (self.n_alternatives >= 0, "0 (none) or more"),
            "beams": (self.beams >= 0, "0 (tokens are drawn) or more"),
            "length_penalty": (math.isfinite(self.length_penalty), "a finite number"),
        }
        for name, (is_good, wanted) in checks.items():
            if not is_good:
                value = getattr(self, name)
                raise UsageError(f"{name} is {value!r}, and it has to be {wanted}.", where=name)

    def some_seed(self) -> int:
        """The given seed, else one drawn now."""
        return secrets.randbits(32) if self.seed is None else self.seed

    def check_said(self, said: Collection[str]) -> None:
        """Raises UsageError if somebody said two things that do not go together; `said` are the fields they named."""
        if self.beams:
            if idle := [name for name in DRAWING if name in said]:
                what = f"{idle[0]} is for drawing tokens, and a beam search draws none"
                raise UsageError(what, where=idle[0], hint=f"leave out {idle[0]}, or beams")
        elif "length_penalty" in said:
            raise UsageError("length_penalty weighs the texts of a beam search", where="length_penalty", hint="beams 4")

    def check_vocabulary(self, vocab_size: int) -> None:
        """Raises UsageError for a bias of an id that the model does not know: an engine asks before it begins."""
        foreign = [id_ for id_, _ in self.logit_bias if id_ >= vocab_size]
        if foreign:
            raise UsageError(
                f"logit_bias names the id {foreign[0]}, and the model's vocabulary ends at {vocab_size - 1}.",
                where="logit_bias",
                hint="ids are those of the model's own tokenizer: `groundup tokenizer encode` shows them",
            )
