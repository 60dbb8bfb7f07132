"""What a person may set about generation, in one record that needs no torch.

Commands, the Python faces and every engine take this record, so that a setting has one name, one default and one
check everywhere. What the settings do to logits is in `sampling.py`.
"""

import secrets
from dataclasses import dataclass

from groundup.errors import UsageError


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
    repetition_penalty: float = 1.0
    """make every token of the text so far less likely by this factor; 1 changes nothing"""
    seed: int | None = None
    """the same seed gives the same text; without one each call draws its own"""
    stop_ids: tuple[int, ...] = ()
    """token ids that end the text, beside those that the tokenizer names"""
    stop: tuple[str, ...] = ()
    """strings that end the text and are not part of it"""

    def __post_init__(self) -> None:
        checks = {
            "max_new_tokens": (self.max_new_tokens >= 1, "at least 1"),
            "temperature": (0 <= self.temperature < float("inf"), "0 or more"),
            "top_k": (self.top_k >= 0, "0 (all tokens) or more"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "min_p": (0 <= self.min_p <= 1, "between 0 and 1"),
            "repetition_penalty": (0 < self.repetition_penalty < float("inf"), "above 0"),
            "seed": (self.seed is None or self.seed >= 0, "0 or more"),
            "stop": (all(self.stop), "text that is not empty"),
        }
        for name, (is_good, wanted) in checks.items():
            if not is_good:
                value = getattr(self, name)
                raise UsageError(f"{name} is {value!r}, and it has to be {wanted}.", where=name)

    def some_seed(self) -> int:
        """The given seed, else one drawn now."""
        return secrets.randbits(32) if self.seed is None else self.seed
