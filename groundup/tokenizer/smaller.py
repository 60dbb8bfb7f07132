"""A smaller vocabulary out of a larger one: BPE learns its merges in order, so the first of them are what a training
to a smaller size would have given."""

import numpy as np

from groundup.errors import UsageError
from groundup.tokenizer.bpe import BPE


def n_smallest(tokenizer: BPE) -> int:
    """The smallest vocabulary there is: the special tokens and the bytes."""
    return len(tokenizer.special_ids) + 256


def first_merges(tokenizer: BPE, vocab_size: int) -> BPE:
    """The tokenizer with only as many merges as make `vocab_size` tokens in all; ids keep their order.

    UsageError: smaller than the bytes and special tokens, or larger than what its merges make.
    """
    n_joined = vocab_size - n_smallest(tokenizer)
    rank_of_new = new_tokens(tokenizer)
    if not 0 <= n_joined <= len(rank_of_new):
        raise UsageError(
            f"the vocabulary cannot be cut to {vocab_size:,} tokens",
            hint=f"from {n_smallest(tokenizer):,} to {n_smallest(tokenizer) + len(rank_of_new):,} are possible",
        )
    bytes_and_special = {*tokenizer.special_ids.values(), *(tokenizer.id_by_token[bytes([b])] for b in range(256))}
    kept = sorted(bytes_and_special | set(list(rank_of_new)[:n_joined]))
    new_id = np.full(tokenizer.vocab_size, -1, np.int64)
    new_id[kept] = np.arange(len(kept))
    merges = None
    if not tokenizer.by_result:
        n_merges = list(rank_of_new.values())[n_joined] if n_joined < len(rank_of_new) else len(tokenizer.merges)
        merges = new_id[tokenizer.merges[:n_merges].astype(np.int64)]
        merges = merges[(merges >= 0).all(axis=1)]
    return BPE(
        [tokenizer.token_bytes[i] for i in kept],
        merges,
        {name: int(new_id[i]) for name, i in tokenizer.special_ids.items()},
        tokenizer.pattern,
        tokenizer.chat_template,
        whole_first=tokenizer.whole_first,
        normalizer=tokenizer.normalizer,
        roles=tokenizer.roles,
        shown=tokenizer.shown,
    )


def new_tokens(tokenizer: BPE) -> dict[int, int]:
    """The tokens that merges make, in the order they are first made: rank by id."""
    if tokenizer.by_result:
        return {i: i for i in sorted(i for token, i in tokenizer.id_by_token.items() if len(token) > 1)}
    rank_by_id: dict[int, int] = {}
    for rank, result in enumerate(tokenizer._results):
        rank_by_id.setdefault(result, rank)
    return rank_by_id
