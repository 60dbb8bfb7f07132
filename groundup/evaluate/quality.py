"""A floor for samples: is this text at least language, and does it at least move on?

Three counts that need no model and no judge. Passing them is no praise; a model whose samples fail one of them is
broken or far from trained. What a word is, and which words there are, comes from the text it was trained on.

    words = vocabulary(document.text for document in documents)
    floor(sample, words).is_ok
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

# Letters with inner apostrophes; each Chinese or Japanese character counts as a word of its own.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|(?:(?![\u3040-\u30ff\u3400-\u9fff])[^\W\d_])+(?:['’][^\W\d_]+)*")
SENTENCE = re.compile(r"[^.!?。！？…]*\w[^.!?。！？…]*[.!?。！？…]+")

MIN_WORDS = 20
MIN_DISTINCT_BIGRAMS = 0.5
"""Share of neighbouring pairs of words that are different ones. Prose of a few hundred words has 0.8 and more."""
MIN_KNOWN_WORDS = 0.9
LOOP_LENGTH = 20
"""Words; nobody says this many in the same order twice unless they are caught in a loop."""


@dataclass(frozen=True)
class Verdict:
    """`reasons` says in words what failed; it is empty for a text that passes."""

    is_ok: bool
    reasons: tuple[str, ...]
    numbers: dict[str, float]


def floor(text: str, vocabulary: Collection[str], *, min_words: int = MIN_WORDS, min_sentences: int = 0) -> Verdict:
    """Judge one sample. `vocabulary` is a set of lower-case words, as `vocabulary()` makes it."""
    said = words(text)
    bigrams = list(zip(said, said[1:], strict=False))
    runs = Counter(tuple(said[at : at + LOOP_LENGTH]) for at in range(len(said) - LOOP_LENGTH + 1))
    numbers = {
        "n_words": len(said),
        "n_sentences": len(SENTENCE.findall(text)),
        "distinct_bigrams": len(set(bigrams)) / max(1, len(bigrams)),
        "known_words": sum(word in vocabulary for word in said) / max(1, len(said)),
        "n_loops": sum(n > 1 for n in runs.values()),
    }
    n_words, n_sentences = numbers["n_words"], numbers["n_sentences"]
    distinct, known = numbers["distinct_bigrams"], numbers["known_words"]
    tests = (
        (n_words >= min_words, f"{n_words} words, fewer than {min_words}"),
        (n_sentences >= min_sentences, f"{n_sentences} sentences, fewer than {min_sentences}"),
        (distinct >= MIN_DISTINCT_BIGRAMS, f"{distinct:.0%} distinct pairs of words, below {MIN_DISTINCT_BIGRAMS:.0%}"),
        (known >= MIN_KNOWN_WORDS, f"{known:.0%} known words, below {MIN_KNOWN_WORDS:.0%}"),
        (numbers["n_loops"] == 0, f"{LOOP_LENGTH} words in a row are said a second time"),
    )
    reasons = tuple(reason for is_good, reason in tests if not is_good)
    return Verdict(not reasons, reasons, numbers)


def words(text: str) -> list[str]:
    """The words of a text in lower case: `words("Tom's cat!")` is `["tom's", "cat"]`. Numbers are not words."""
    return [word.replace("’", "'") for word in WORD.findall(text.lower())]


def vocabulary(texts: Iterable[str]) -> frozenset[str]:
    """All words of these texts."""
    return frozenset(word for text in texts for word in words(text))
