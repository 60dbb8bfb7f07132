"""Two ways to say the same merges, and how to get from one to the other.

As a list: pairs in the order they were learned (Hugging Face, GPT-2's files, SentencePiece after `merges_by_score`).
As ranks: any two tokens whose bytes joined are a token may merge, the token of lowest rank first (tiktoken).

In both, a token that lies in a text between two borders that stay was joined as it would be joined alone: no join
reaches over the borders, so those inside come in the same order. So each token has one pair that it is ever made of,
the last join of the token alone, and a list of these pairs is the whole of the ranks.
"""

from collections.abc import Iterable, Mapping, Sequence

from groundup.errors import UsageError
from groundup.tokenizer.bpe import BPE, LONGEST_SCANNED, NO_RANK, join_long, join_short


class _Without(Mapping[tuple[int, int], int]):
    """Ranks of pairs, without those of one rank."""

    def __init__(self, ranks: Mapping[tuple[int, int], int]):
        self.ranks = ranks
        self.left_out = NO_RANK

    def __getitem__(self, pair: tuple[int, int]) -> int:
        rank = self.ranks[pair]
        return NO_RANK if rank == self.left_out else rank

    def __iter__(self):
        return iter(self.ranks)

    def __len__(self) -> int:
        return len(self.ranks)


def as_list(tokenizer: BPE) -> list[tuple[int, int]]:
    """The merges as pairs of ids in order, also of a tokenizer whose merges are ranks."""
    if not tokenizer.by_result:
        return [(left, right) for left, right in tokenizer.merges.tolist()]
    ranks, results = _Without(tokenizer._ranks), tokenizer._results
    merges = []
    for rank, token in enumerate(tokenizer.token_bytes):
        if len(token) > 1:
            ranks.left_out = rank
            parts = _join(tokenizer, token, ranks, results)
            if len(parts) == 2:  # otherwise no joins make it: it is only ever taken whole
                merges.append((parts[0], parts[1]))
    return merges


def as_ranks(tokenizer: BPE) -> dict[bytes, int]:
    """The rank of each token's bytes, which is its id, if tiktoken then gives the same ids as this tokenizer.

    UsageError if not: merges learned in another order than that of the ids they make, or a token in the vocabulary that
    its own bytes do not become, which tiktoken would take whole.
    """
    hint = "save it as tokenizer.json instead, which holds any order"
    if tokenizer.missing_bytes:
        raise UsageError(f"{len(tokenizer.missing_bytes)} of the 256 bytes are not in the vocabulary", hint=hint)
    if not tokenizer.by_result:
        made = [tokenizer.id_by_token[token] for token in _made(tokenizer)]
        if any(a >= b for a, b in zip(made, made[1:], strict=False)):
            raise UsageError("the ids of this tokenizer are not in the order of its merges, as ranks are", hint=hint)
    if not (tokenizer.by_result and tokenizer.whole_first):
        for token, i in tokenizer.id_by_token.items():
            if len(token) > 1 and _join(tokenizer, token, tokenizer._ranks, tokenizer._results) != [i]:
                raise UsageError(f"text cannot become the token {i}, {token[:40]!r}, but by rank it would", hint=hint)
    return dict(tokenizer.id_by_token)


def _made(tokenizer: BPE) -> Iterable[bytes]:
    tokens = tokenizer.token_bytes
    return (tokens[left] + tokens[right] for left, right in tokenizer.merges.tolist())


def _join(tokenizer: BPE, token: bytes, ranks: Mapping[tuple[int, int], int], results: Sequence[int]) -> list[int]:
    join = join_short if len(token) <= LONGEST_SCANNED else join_long
    return join([tokenizer._byte_ids[byte] for byte in token.translate(None, tokenizer.missing_bytes)], ranks, results)
