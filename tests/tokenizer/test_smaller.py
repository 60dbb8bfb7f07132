"""The first merges of a tokenizer are the tokenizer that a training to a smaller size gives."""

import numpy as np
import pytest

from groundup.errors import UsageError
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.smaller import first_merges, n_smallest, new_tokens
from groundup.tokenizer.train import train

TEXTS = ["The cat sat on the mat, and the hat that the cat had sat on was flat. 你好，世界。你好！ 123 123\n" * 4]


@pytest.mark.parametrize("vocab_size", [260, 261, 290, 300])
def test_it_is_what_training_to_that_size_gives(vocab_size):
    smaller = first_merges(train(TEXTS, 300), vocab_size)
    trained = train(TEXTS, vocab_size)
    assert smaller.hash == trained.hash
    assert smaller.encode(TEXTS[0]).tolist() == trained.encode(TEXTS[0]).tolist()


def test_by_result_keeps_the_lowest_ids_and_special_tokens_move_down():
    tokens = [*([bytes([b]) for b in range(256)]), b"th", b"the", b" t", b"", b"he"]
    whole = BPE(tokens, None, {"<|endoftext|>": 259}, "gpt2")
    smaller = first_merges(whole, 259)
    assert smaller.token_bytes[256:] == [b"th", b"the", b""]
    assert smaller.special_ids == {"<|endoftext|>": 258}
    assert smaller.by_result and smaller.eos_id == 258
    assert smaller.encode(" the he").tolist() == [32, 257, 32, 104, 101]


def test_merges_that_make_a_token_again_cost_no_place():
    tokens = [*([bytes([b]) for b in range(256)]), b"ab", b"bc", b"abc", b"abcd"]
    merges = np.array([[97, 98], [98, 99], [256, 99], [97, 257], [258, 100]])
    whole = BPE(tokens, merges, {}, "gpt2")
    assert new_tokens(whole) == {256: 0, 257: 1, 258: 2, 259: 4}
    smaller = first_merges(whole, 259)
    assert smaller.merges.tolist() == [[97, 98], [98, 99], [256, 99], [97, 257]]
    assert first_merges(whole, 260).hash == whole.hash


@pytest.mark.parametrize("vocab_size", [0, 259, 301])
def test_a_size_that_cannot_be_is_told(vocab_size):
    whole = train(TEXTS, 300)
    assert n_smallest(whole) == 260
    with pytest.raises(UsageError, match="cannot be cut") as error:
        first_merges(whole, vocab_size)
    assert "from 260 to 300" in str(error.value.hint)
