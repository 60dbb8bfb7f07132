"""Merges as a list and as ranks: the same ids, also in vocabularies that no training would give."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.errors import UsageError
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.merge_order import as_list, as_ranks
from groundup.tokenizer.train import train

BYTES = [bytes([byte]) for byte in range(256)]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.text("ab", min_size=2, max_size=6), unique=True, max_size=12),
    st.lists(st.text("ab", max_size=30), min_size=3, max_size=3),
)
def test_one_pair_a_token_says_all_that_ranks_say(tokens, texts):
    ranked = BPE([*BYTES, *(token.encode() for token in tokens)], None, {})
    merges = as_list(ranked)
    made = [ranked.token_bytes[left] + ranked.token_bytes[right] for left, right in merges]
    assert len(set(made)) == len(made)
    listed = BPE(ranked.token_bytes, merges, {})
    for text in texts:
        assert listed.encode(text).tolist() == ranked.encode(text).tolist()


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.text("ab", min_size=2, max_size=5), unique=True, max_size=8),
    st.lists(st.text("ab", max_size=20), min_size=3, max_size=3),
)
def test_ranks_are_given_only_where_they_say_the_same(tokens, texts):
    ranked = BPE([*BYTES, *(token.encode() for token in tokens)], None, {})
    listed = BPE(ranked.token_bytes, as_list(ranked), {})
    try:
        ranks = as_ranks(listed)
    except UsageError:
        return
    again = BPE(ranked.token_bytes, None, {}, whole_first=True)
    assert ranks == {token: i for i, token in enumerate(ranked.token_bytes)}
    for text in texts:
        assert again.encode(text).tolist() == listed.encode(text).tolist()


def test_trained_merges_are_the_same_list():
    tokenizer = train(["the cat's hat " * 3 + "aaaaaaa ababab"], 276)
    ranked = BPE(tokenizer.token_bytes, None, tokenizer.special_ids)
    assert as_list(ranked) == as_list(tokenizer) == [tuple(pair) for pair in tokenizer.merges.tolist()]
    with pytest.raises(UsageError, match="text cannot become the token 276"):
        as_ranks(BPE([*tokenizer.token_bytes, b"xyz"], tokenizer.merges, tokenizer.special_ids))
