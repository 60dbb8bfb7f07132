"""Generation: what one prompt became, and which of several is the best."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Generation:
    """What one prompt became."""

    prompt_ids: list[int]
    ids: list[int] = field(default_factory=list)
    """All new ids, with the stop id if one ended the text."""
    logprobs: list[float] = field(default_factory=list)
    """Log-probability of each new id under the model itself, before temperature and filters."""
    alternatives: list[list[tuple[int, float]]] = field(default_factory=list)
    """The `n_alternatives` likeliest ids at each new id's place, best first, with their log-probabilities."""
    finish_reason: str = ""
    """"stop": a stop id came, or the caller ended it. "length": `max_new_tokens` or the context was used up.
    "interrupted": it was cancelled. Empty while it is being made."""
    ends_with_stop_id: bool = False
    n_drafted: int | None = None
    """How many ids a draft guessed ahead, and of those were right; None where there was no draft."""
    n_accepted: int | None = None
    score: float | None = None
    """Of a beam search: the log-probability of the new ids, divided by their number to the power `length_penalty`."""

    @property
    def text_ids(self) -> list[int]:
        """The new ids that are text: without the stop id."""
        return self.ids[:-1] if self.ends_with_stop_id else self.ids

    @property
    def mean_logprob(self) -> float:
        """How likely the model finds each of its tokens, the stop id among them; -inf if there are none."""
        return sum(self.logprobs) / len(self.logprobs) if self.logprobs else float("-inf")


def best_of(generations: Sequence[Generation]) -> Generation:
    """The one with the largest mean log-probability; of equal ones the first.

    The mean, because a sum would favour what is short. ValueError if there are none.
    """
    return max(generations, key=lambda generation: generation.mean_logprob)
