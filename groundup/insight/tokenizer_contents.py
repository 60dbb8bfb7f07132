"""What is in a tokenizer: its longest tokens, their scripts, the odd ones, and with a text the used and the unused."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from groundup.text.language import letters_of
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.odd_tokens import REASONS, Odd, odd_tokens
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.show import show
from groundup.tokenizer.smaller import new_tokens

BATCH = 256
"""Texts encoded at a time."""


@dataclass(frozen=True)
class Use:
    """How often each id comes in a text. counts: (vocab_size,)."""

    counts: np.ndarray
    n_bytes: int

    @property
    def n_tokens(self) -> int:
        return int(self.counts.sum())

    def unused(self, tokenizer: Tokenizer) -> list[int]:
        """Ids that never came, special tokens aside, which text cannot make."""
        special = set(tokenizer.special_ids.values())
        return [i for i in np.flatnonzero(self.counts == 0).tolist() if i not in special]


def about(tokenizer: Tokenizer) -> dict[str, Any]:
    """Size, kind, pattern, special tokens, counts of bytes and merges."""
    facts: dict[str, Any] = {
        "kind": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "pattern": tokenizer.pattern,
        "bytes": sum(len(token) == 1 for token in tokenizer.token_bytes),
        "special_tokens": dict(sorted(tokenizer.special_ids.items(), key=lambda item: item[1])),
        "roles": dict(tokenizer.roles),
        "hash": tokenizer.hash,
    }
    if isinstance(tokenizer, BPE):
        facts["merges"] = len(new_tokens(tokenizer)) if tokenizer.by_result else len(tokenizer.merges)
        facts["ranks"] = "by the id that is made" if tokenizer.by_result else "by the list of merges"
        facts["whole_first"] = tokenizer.whole_first
        facts["normalizer"] = tokenizer.normalizer
    return facts


def longest(tokenizer: Tokenizer, n: int) -> list[int]:
    """The n ids of most bytes, longest first."""
    sizes = np.array([len(token) for token in tokenizer.token_bytes])
    return np.argsort(-sizes, kind="stable")[:n].tolist()


def count_by_letters(tokenizer: Tokenizer) -> dict[str, int]:
    """How many tokens are of which script, or digits, spaces, marks, bytes; the most first."""
    special = set(tokenizer.special_ids.values())
    texts = (
        token.decode("utf-8", "surrogateescape") for i, token in enumerate(tokenizer.token_bytes) if i not in special
    )
    return dict(Counter(map(letters_of, texts)).most_common())


def odd_by_reason(tokenizer: Tokenizer) -> dict[str, list[Odd]]:
    """The odd tokens of each reason that has any."""
    found: dict[str, list[Odd]] = {reason: [] for reason in REASONS}
    for odd in odd_tokens(tokenizer):
        found[odd.reason].append(odd)
    return {reason: odds for reason, odds in found.items() if odds}


def use(tokenizer: Tokenizer, texts: Iterable[str]) -> Use:
    """How often each token comes in the texts, read once and not kept."""
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    n_bytes = 0
    batch: list[str] = []

    def count() -> None:
        ids, _ = tokenizer.encode_batch(batch)
        np.add(counts, np.bincount(ids.astype(np.int64), minlength=len(counts)), out=counts)
        batch.clear()

    for text in texts:
        n_bytes += len(text.encode("utf-8", "surrogatepass"))
        batch.append(text)
        if len(batch) == BATCH:
            count()
    count()
    return Use(counts, n_bytes)


def row(tokenizer: Tokenizer, i: int) -> dict[str, Any]:
    """One token for a table or for JSON: its id, its text for people, its bytes as hexadecimal digits."""
    name = next((name for name, special_id in tokenizer.special_ids.items() if special_id == i), None)
    token = tokenizer.token_bytes[i]
    return {"id": i, "token": name or show(token), "bytes": token.hex()}
