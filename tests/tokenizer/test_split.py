"""Splitting: equal to the regular expressions of tokenizers, lossless on anything."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from groundup.errors import UsageError
from groundup.tokenizer.alphabet import BYTES_IN_ORDER, CHARACTER_BY_BYTE, spell, unspell
from groundup.tokenizer.split import LARGEST_LISTED, PATTERNS, as_bytes, as_text, pieces

TRICKY = [
    "I'll say it's HE'S they'RE 'twas rock'n'roll",
    "1234567 12.5 ３４ ½ Ⅳ v2 x1y2",
    "  leading, trailing  \n\n \n\t tabs\r\n\r\nlines   ",
    "你好，世界。日本語テキスト 한국어 नमस्ते สวัสดี العربية",
    "naïve café e\u0301 👩‍👩‍👧 😀😀 🇩🇪 \u200d \u00a0 \u3000x",
    "def f(x):\n    return x[0]  # ok\n\n\n",
    "---\n***!!!???...\n\n\n...\n",
]


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("text", TRICKY)
def test_pieces_equal_those_of_tokenizers(name, text):
    judge = pre_tokenizers.Split(Regex(PATTERNS[name]), "isolated")
    assert list(pieces(text, name)) == [piece for piece, _ in judge.pre_tokenize_str(text)]


@pytest.mark.parametrize("text", TRICKY)
def test_gpt2_is_the_pattern_inside_byte_level(text):
    judge = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    assert [spell(as_bytes(p)) for p in pieces(text, "gpt2")] == [piece for piece, _ in judge.pre_tokenize_str(text)]


@pytest.mark.parametrize("name", PATTERNS)
def test_an_example_by_hand(name):
    expected = {
        "gpt2": ["I", "'ve", " 12345", " cats", "!!\n"[:2], "\n"],
        "cl100k": ["I", "'ve", " ", "123", "45", " cats", "!!\n"],
        "o200k": ["I've", " ", "123", "45", " cats", "!!\n"],
        "qwen2": ["I", "'ve", " ", "1", "2", "3", "4", "5", " cats", "!!\n"],
        "smollm": ["I", "'ve", " ", "1", "2", "3", "4", "5", " cats", "!!", "\n"],
    }
    assert list(pieces("I've 12345 cats!!\n", name)) == expected.get(name, expected["cl100k"])


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_pass_through_strings_unchanged(data):
    assert as_bytes(as_text(data)) == data
    for name in PATTERNS:
        assert b"".join(as_bytes(piece) for piece in pieces(as_text(data), name)) == data


@settings(deadline=None)
@given(st.text(st.characters(codec=None)))
def test_strings_with_lone_surrogates_become_the_bytes_they_would_have(text):
    assert as_bytes(as_text(text)) == text.encode("utf-8", "surrogatepass")


def test_pieces_of_a_huge_text_are_not_listed():
    found = pieces("word " * (LARGEST_LISTED // 5 + 1), "gpt2")
    assert not isinstance(found, list)
    assert next(iter(found)) == "word"


def test_an_unknown_pattern_is_named():
    with pytest.raises(UsageError, match="'gpt9'") as error:
        pieces("x", "gpt9")
    assert "gpt2, cl100k, o200k, llama3" in str(error.value.hint)


def test_the_alphabet_is_that_of_tokenizers():
    assert sorted(CHARACTER_BY_BYTE.values()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert [CHARACTER_BY_BYTE[byte] for byte in BYTES_IN_ORDER] == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert unspell(spell(bytes(range(256)))) == bytes(range(256))
