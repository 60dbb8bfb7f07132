"""The character tokenizer: ids, unknown characters, and its folder in transformers."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.errors import DataError, UsageError
from groundup.tokenizer.character import CharacterTokenizer
from groundup.tokenizer.protocol import Tokenizer

TEXT = "The cat's hat.\n\r\n\t 你好，世界。 naïve e\u0301 😀👩‍👩‍👧\x00\u2028"
SPECIALS = ["<|endoftext|>", "<|pad|>", "<|unk|>"]
WITH_UNK = CharacterTokenizer.train([TEXT])
WITHOUT = CharacterTokenizer.train([TEXT[:10], TEXT[10:].encode()], special_tokens=SPECIALS[:2])


def test_ids_are_special_tokens_then_characters_by_code_point():
    known = sorted(set(TEXT))
    assert WITH_UNK.vocab_size == 3 + len(known)
    assert WITH_UNK.special_ids == {name: i for i, name in enumerate(SPECIALS)}
    assert WITH_UNK.encode(TEXT).tolist() == [3 + known.index(character) for character in TEXT]
    assert (WITH_UNK.eos_id, WITH_UNK.pad_id, WITH_UNK.unk_id, WITH_UNK.kind) == (0, 1, 2, "character")
    assert CharacterTokenizer.train(["ba\udc80", "ab"], special_tokens=[]).token_bytes == [b"a", b"b"]


@settings(deadline=None)
@given(st.text(st.sampled_from(TEXT)))
def test_text_of_known_characters_comes_back(text):
    for tokenizer in (WITH_UNK, WITHOUT):
        ids = tokenizer.encode(text)
        assert ids.dtype == np.uint32
        assert tokenizer.decode(ids) == text
        assert "".join(map(tokenizer.stream().push, ids.tolist())) == text
        assert tokenizer.encode(text.encode()).tolist() == ids.tolist()


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec=None), max_size=30), max_size=4))
def test_any_other_character_is_unknown(texts):
    ids, offsets = WITH_UNK.encode_batch(texts)
    assert offsets.tolist()[-1] == len(ids)
    for i, text in enumerate(texts):
        expected = [WITH_UNK.token_bytes.index(c.encode()) if c in TEXT else 2 for c in replaced(text)]
        assert ids[int(offsets[i]) : int(offsets[i + 1])].tolist() == expected


def replaced(text):
    """Each of the three bytes of a lone surrogate is one unknown character."""
    return "".join("???" if "\ud800" <= c <= "\udfff" else c for c in text)


def test_without_an_unknown_token_an_unknown_character_is_named():
    with pytest.raises(DataError, match=r"'ß' \(U\+00DF\) is not in the vocabulary") as error:
        WITHOUT.encode("cat ß")
    assert error.value.where == "character 5 of the text"
    with pytest.raises(DataError, match="no text"):
        CharacterTokenizer.train([b"\xff", ""])
    for wrong in (["a"], ["<|x|>", "<|x|>"]):
        with pytest.raises(UsageError, match="given twice, or is only one character"):
            CharacterTokenizer.train(["a"], special_tokens=wrong)
    with pytest.raises(UsageError, match="more than one character"):
        CharacterTokenizer([b"ab"], {})


def test_special_tokens_in_text_are_characters_unless_allowed():
    tokenizer = CharacterTokenizer.train(["<|endoftext|> a"])
    assert 0 not in tokenizer.encode("a<|endoftext|>")
    assert tokenizer.encode("a<|endoftext|>", allow_special="all").tolist() == [tokenizer.token_bytes.index(b"a"), 0]


@pytest.mark.parametrize("tokenizer", [WITH_UNK, WITHOUT])
def test_the_folder_opens_in_transformers_and_comes_back(tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path / "a")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "a")
    ids = tokenizer.encode(TEXT * 2).tolist()
    assert theirs.encode(TEXT * 2) == ids
    assert theirs.decode(ids) == TEXT * 2
    assert (len(theirs), theirs.eos_token_id, theirs.pad_token_id) == (tokenizer.vocab_size, 0, 1)
    if tokenizer is WITH_UNK:
        assert theirs.encode("aßß😃t") == tokenizer.encode("aßß😃t").tolist()
    loaded = Tokenizer.load(tmp_path / "a")
    assert isinstance(loaded, CharacterTokenizer)
    assert (loaded.hash, loaded.roles) == (tokenizer.hash, tokenizer.roles)
    loaded.save(tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_a_pickled_tokenizer_is_small_and_the_same():
    WITH_UNK.encode(TEXT)
    pickled = pickle.dumps(WITH_UNK)
    assert len(pickled) < 5000
    assert pickle.loads(pickled).hash == WITH_UNK.hash != WITHOUT.hash
