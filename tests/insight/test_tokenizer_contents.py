"""What is in a tokenizer, on one that is small enough to count by hand."""

import numpy as np

from groundup.insight import tokenizer_contents as contents
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.character import CharacterTokenizer

BYTES = [bytes([b]) for b in range(256)]
TOKENIZER = BPE([*BYTES, b"th", b"the", b" the", b"", "你".encode()], None, {"<|endoftext|>": 259}, "gpt2")


def test_about():
    facts = contents.about(TOKENIZER)
    assert (facts["kind"], facts["vocab_size"], facts["bytes"], facts["merges"]) == ("bpe", 261, 256, 4)
    assert facts["ranks"] == "by the id that is made"
    assert facts["special_tokens"] == {"<|endoftext|>": 259}
    assert "merges" not in contents.about(CharacterTokenizer.train(["abc"]))


def test_longest_and_letters():
    assert contents.longest(TOKENIZER, 3) == [258, 257, 260]
    letters = contents.count_by_letters(TOKENIZER)
    assert letters == {"bytes": 128, "marks": 60, "Latin": 55, "digits": 10, "spaces": 6, "Han": 1}
    assert sum(letters.values()) == 260


def test_use_counts_every_token_and_knows_the_unused():
    use = contents.use(TOKENIZER, ["the the", "x"] * 300)
    assert (use.n_bytes, use.n_tokens) == (8 * 300, 3 * 300)
    assert np.flatnonzero(use.counts).tolist() == [ord("x"), 257, 258]
    unused = use.unused(TOKENIZER)
    assert 256 in unused and 259 not in unused and 257 not in unused
    assert contents.use(TOKENIZER, []).n_tokens == 0


def test_rows_name_special_tokens():
    assert contents.row(TOKENIZER, 258) == {"id": 258, "token": "␣the", "bytes": "20746865"}
    assert contents.row(TOKENIZER, 259) == {"id": 259, "token": "<|endoftext|>", "bytes": ""}


def test_odd_by_reason_has_only_reasons_that_occur():
    # The first byte of 你 and the two behind it are no tokens together, so nothing ever makes it.
    assert {reason: [odd.id for odd in odds] for reason, odds in contents.odd_by_reason(TOKENIZER).items()} == {
        "unreachable": [260]
    }
