"""The numbers of a comparison, counted by hand on small texts."""

import pytest

from groundup.insight.tokenizer_compare import Measure, measure, samples, total
from groundup.text.language import guess
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.character import CharacterTokenizer
from groundup.tokenizer.sentencepiece import SentencePieceBPE
from groundup.tokenizer.word import WordTokenizer

BYTES = [bytes([b]) for b in range(256)]


def test_bytes_tokens_and_whole_words_of_bpe():
    tokenizer = BPE([*BYTES, b"ca", b"cat", b" cat"], [(97 + 2, 97), (256, 116), (32, 257)], {})
    found = measure(tokenizer, ["cat cats, a cat", "你 cat"])
    # cat | _cat s , _ a _cat: of cat, cats, a, cat the one that is cut is cats. Chinese has no words between spaces.
    assert (found.n_bytes, found.n_tokens, found.n_words, found.n_whole) == (15 + 7, 7 + 4, 5, 4)
    assert found.bytes_per_token == 2
    assert found.whole_words == 0.8
    assert found.unknown == 0


def test_characters_and_words_have_unknowns():
    characters = CharacterTokenizer.train(["a cat"])
    assert measure(characters, ["a cot"]) == _timeless(characters, ["a cot"], 5, 5, 2, 1, 1)
    words = WordTokenizer.train(["a cat has a hat"], 8)
    found = measure(words, ["a cat sat"])
    assert (found.n_tokens, found.n_words, found.n_whole, found.n_unknown) == (3, 3, 2, 1)
    assert found.unknown == pytest.approx(1 / 3)


def _timeless(tokenizer, texts, n_bytes, n_tokens, n_words, n_whole, n_unknown):
    seconds = pytest.approx(0, abs=60)
    return Measure(n_bytes, n_tokens, n_words, n_whole, n_unknown, seconds)  # pyright: ignore


def test_the_space_that_sentencepiece_adds_is_not_counted():
    pieces = ["", *(f"<0x{b:02X}>" for b in range(256)), "▁", "c", "a", "t", "ca", "cat", "▁cat"]
    ids = {piece: i for i, piece in enumerate(pieces)}
    merges = [(ids["c"], ids["a"]), (ids["ca"], ids["t"]), (ids["▁"], ids["cat"])]
    tokenizer = SentencePieceBPE(pieces, {"<unk>": 0}, merges=merges)
    found = measure(tokenizer, ["cat cat", "act"])
    assert (found.n_bytes, found.n_tokens, found.n_words, found.n_whole) == (10, 6, 3, 2)


def test_measures_add_up_and_nothing_divides_by_nothing():
    assert total([Measure(1, 2, 3, 4, 5, 6.0), Measure(1, 1, 1, 1, 1, 1.0)]) == Measure(2, 3, 4, 5, 6, 7.0)
    nothing = measure(BPE(BYTES, [], {}), [])
    assert (nothing.bytes_per_token, nothing.whole_words, nothing.unknown) == (None, None, None)
    assert Measure().megabytes_per_second is None


def test_lone_surrogates_are_measured():
    found = measure(BPE(BYTES, [], {}), ["a\ud800b 😀 word"])
    assert found.n_bytes == found.n_tokens == 1 + 3 + 1 + 1 + 4 + 5


def test_the_samples_are_what_their_names_say():
    names = {"english": "English", "dialogue": "English", "chinese": "Chinese", "german": "German", "french": "French",
             "spanish": "Spanish", "russian": "Cyrillic", "japanese": "Japanese", "korean": "Korean",
             "arabic": "Arabic", "hindi": "Devanagari", "python": "code", "javascript": "code",
             "numbers": "numbers", "emoji": "English"}  # fmt: skip
    assert {name: guess(text) for name, text in samples().items()} == names
    compile(samples()["python"], "sample", "exec")
