"""Tokenizers as tables, as Stanford's CS336 has them: the form, special tokens, and its order of ties."""

import inspect
from collections import Counter
from itertools import pairwise

import pytest

from groundup.errors import ArtefactError, DataError
from groundup.tokenizer.split import pieces
from groundup.tokenizer.tables import from_tables, to_tables, train_tables
from groundup.tokenizer.train import train

TEXT = "The cat's hat: 12 cats, 345 hats!\n\n 你好，世界。 naïve 😀 low lower lowest newest newest " * 3
BYTES = {byte: bytes([byte]) for byte in range(256)}
knows_ties = pytest.mark.skipif("ties" not in inspect.signature(train).parameters, reason="train has one order of ties")


def test_a_tokenizer_is_made_of_tables_and_gives_them_back():
    vocab = {**BYTES, 256: b"th", 257: b"the", 258: b"<|endoftext|>"}
    merges = [(b"t", b"h"), (b"th", b"e")]
    tokenizer = from_tables(vocab, merges, ["<|endoftext|>"])
    assert tokenizer.encode("the th<|").tolist() == [257, 32, 256, *b"<|"]
    assert tokenizer.special_ids == {"<|endoftext|>": 258}
    assert tokenizer.encode("the<|endoftext|>", allow_special="all").tolist() == [257, 258]
    assert to_tables(tokenizer) == (vocab, merges)
    assert from_tables(vocab, merges, ["<|end|>"]).special_ids == {"<|end|>": 259}
    plain = from_tables(vocab, merges)  # not named, it is a token that no text becomes
    assert plain.special_ids == {}
    assert plain.decode(plain.encode("<|endoftext|>")) == "<|endoftext|>"
    assert plain.decode([258]) == "<|endoftext|>"


def test_tables_of_a_trained_tokenizer_make_it_again():
    for pattern in ("gpt2", "cl100k"):
        tokenizer = train([TEXT], 300, pattern=pattern)
        vocab, merges = to_tables(tokenizer)
        assert len(vocab) == 300
        again = from_tables(vocab, merges, list(tokenizer.special_ids), pattern)
        assert again.hash == tokenizer.hash


WRONG = {
    "not in the vocabulary": ({**BYTES, 256: b"th"}, [(b"t", b"q")]),
    "1 of the 256 bytes": ({i: token for i, token in BYTES.items() if i != 255}, []),
    "is no id": ({**BYTES, -1: b"th"}, []),
    "gaps": ({**BYTES, 10**9: b"th"}, []),
    "the same bytes": ({**BYTES, 256: b"a"}, []),
    "empty": ({}, []),
}


@pytest.mark.parametrize("message", WRONG)
def test_tables_that_cannot_be_are_refused(message):
    with pytest.raises(ArtefactError, match=message):
        from_tables(*WRONG[message])


def cs336(documents, n_merges):
    """Their reference in a few lines: the most frequent pair, of equal ones the greater pair of bytes."""
    words = Counter(tuple(bytes([b]) for b in piece.encode()) for text in documents for piece in pieces(text, "gpt2"))
    merges = []
    for _ in range(n_merges):
        pairs = Counter()
        for word, n in words.items():
            for pair in pairwise(word):
                pairs[pair] += n
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        joined = Counter()
        for word, n in words.items():
            new, i = [], 0
            while i < len(word):
                is_pair = word[i : i + 2] == best
                new.append(b"".join(word[i : i + 2]) if is_pair else word[i])
                i += 1 + is_pair
            joined[tuple(new)] += n
        words = joined
    return merges


@knows_ties
def test_one_call_trains_as_cs336_asks(tmp_path):
    documents = [TEXT, " lowest", "", "newest\n"]
    (tmp_path / "text.txt").write_bytes("<|endoftext|>".join(documents).encode())
    vocab, merges = train_tables(tmp_path / "text.txt", 300, ["<|endoftext|>"])
    assert merges == cs336(documents, 43)
    assert list(vocab) == list(range(300))
    assert [vocab[i] for i in range(256)] == list(BYTES.values())
    assert [vocab[256 + i] for i in range(43)] == [left + right for left, right in merges]
    assert vocab[299] == b"<|endoftext|>"
    tokenizer = from_tables(vocab, merges, ["<|endoftext|>"])
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT


@knows_ties
def test_documents_across_blocks_are_whole(tmp_path, monkeypatch):
    text = "<|a|>".join(f"the cat {i}" for i in range(50)) + "<|a|>end"
    (tmp_path / "text.txt").write_text(text)
    expected = train_tables(tmp_path / "text.txt", 262, ["<|a|>"])
    for size in (1, 3, 7, 64):
        monkeypatch.setattr("groundup.tokenizer.tables.BLOCK", size)
        assert train_tables(tmp_path / "text.txt", 262, ["<|a|>"]) == expected


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DataError, match="cannot read nothing.txt"):
        list(train_tables.__globals__["_documents"](tmp_path / "nothing.txt", []))
