"""Merges as scores: what GGUF has to say of a SentencePiece tokenizer.

By scores any two neighbours that together are a piece may join, the best score first; by merges only those that are
listed, in their order. The two say the same if of each piece the last join is the same and these joins come in the same
order: merge_order.py says why.
"""

from groundup.errors import UsageError
from groundup.tokenizer.sentencepiece import SentencePieceBPE
from groundup.tokenizer.sentencepiece_joins import Join, Joins, join, merges_by_score


def scores(tokenizer: SentencePieceBPE) -> list[float]:
    """A score for each piece; of merges in order: minus the number of the merge that makes it. UsageError if no scores
    give the same ids."""
    if tokenizer.merges is None:
        return list(tokenizer.scores or [])
    last_joins = _last_joins(tokenizer)
    ids = tokenizer._piece_ids
    made = [ids[tokenizer.pieces[left] + tokenizer.pieces[right]] for left, right in last_joins]
    found = [-float(len(made))] * tokenizer.vocab_size
    for rank, i in enumerate(made):
        found[i] = -float(rank)
    if merges_by_score(SentencePieceBPE(tokenizer.pieces, tokenizer.special_ids, scores=found)) != last_joins:
        raise UsageError(
            "llama.cpp joins any two pieces that make a piece, this tokenizer only those that it lists",
            hint="its ids would be others than those that the model was trained on",
        )
    return found


def _last_joins(tokenizer: SentencePieceBPE) -> list[tuple[int, int]]:
    """Of each piece the pair that it is ever made of, in the order of the merges."""
    joins = tokenizer._joins
    assert isinstance(joins, Joins)
    by_made: dict[int, dict[tuple[int, int], Join]] = {}
    for pair, joined in joins.items():
        by_made.setdefault(joined[1], {})[pair] = joined
    found: list[tuple[int, tuple[int, int]]] = []
    for i, ways in by_made.items():
        for pair in ways:
            del joins[pair]
        parts = join(tokenizer._symbols(tokenizer.pieces[i]), joins)
        joins.update(ways)
        if len(parts) == 2 and (pair := (parts[0], parts[1])) in ways:
            found.append((ways[pair][0], pair))
    return [pair for _, pair in sorted(found)]
