"""The word tokenizer: which words, what comes back, and its folder in transformers."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.errors import DataError, UsageError
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.split import pieces
from groundup.tokenizer.word import WordTokenizer

TEXT = "the cat's hat, the hat.\n\n  the  cat 12 你好 😀 the"
N_WORDS = len(set(pieces(TEXT, "gpt2")))
TOKENIZER = WordTokenizer.train([TEXT], 3 + N_WORDS)
WITHOUT = WordTokenizer.train([TEXT.encode()], 1 + N_WORDS, special_tokens=["<|endoftext|>"])


def test_the_most_frequent_words_in_order_of_code_points_where_equal():
    tokenizer = WordTokenizer.train([" b a a! c b zz"], 8)
    assert tokenizer.token_bytes == [b"", b"", b"", b" a", b" b", b" c", b" zz", b"!"]
    assert WordTokenizer.train([" b a b"], 4).token_bytes[3:] == [b" b"]
    assert (tokenizer.unk_id, tokenizer.eos_id, tokenizer.kind, tokenizer.pattern) == (2, 0, "word", "gpt2")


@settings(deadline=None)
@given(st.lists(st.sampled_from([" the", " cat", " hat", ",", "\n\n", ".", " 12"]), max_size=10).map("".join))
def test_text_of_known_words_comes_back_with_its_spaces(text):
    words = list(pieces(text, "gpt2"))
    come_back = [word if word.encode() in TOKENIZER.token_bytes else "<|unk|>" for word in words]
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == "".join(come_back)
    if come_back == words:
        assert WITHOUT.decode(WITHOUT.encode(text)) == text


def test_the_text_it_was_trained_on_comes_back():
    for tokenizer in (TOKENIZER, WITHOUT):
        assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT


def test_an_unknown_word_is_the_unknown_token_with_its_space_or_is_named():
    assert TOKENIZER.decode(TOKENIZER.encode("the dog. 你\udc80")) == "the<|unk|>.<|unk|><|unk|>"
    with pytest.raises(DataError, match="the word ' dog' is not in the vocabulary"):
        WITHOUT.encode("the dog")


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(DataError, match=f"the text has {N_WORDS} distinct words, {N_WORDS + 1} are needed") as error:
        WordTokenizer.train([TEXT], 4 + N_WORDS)
    assert str(3 + N_WORDS) in str(error.value.hint)
    for size in (3, 0, -1, 10**9):
        with pytest.raises(UsageError, match="cannot be"):
            WordTokenizer.train([TEXT], size)
    for wrong in (["the"], ["<|x y|>", "<|x y|>"]):
        with pytest.raises(UsageError, match="given twice, or text could become"):
            WordTokenizer.train([TEXT], 5, special_tokens=wrong)
    with pytest.raises(DataError, match="0 distinct words"):
        WordTokenizer.train([], 5)


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", r"\w+|[^\w\s]"])
def test_the_folder_opens_in_transformers_and_comes_back(pattern, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer = WordTokenizer.train([TEXT], 12, pattern=pattern)
    tokenizer.save(tmp_path / "a")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "a")
    for text in (TEXT, "the dog  ran\n on 12, 13"):
        ids = tokenizer.encode(text).tolist()
        assert theirs.encode(text) == ids
        assert theirs.decode(ids) == tokenizer.decode(ids)
    loaded = Tokenizer.load(tmp_path / "a")
    assert isinstance(loaded, WordTokenizer)
    assert (loaded.hash, loaded.pattern, loaded.roles) == (tokenizer.hash, pattern, tokenizer.roles)
    loaded.save(tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    assert pickle.loads(pickle.dumps(tokenizer)).hash == tokenizer.hash


def test_without_an_unknown_token_transformers_refuses_an_unknown_word_too(tmp_path):
    from tokenizers import Tokenizer as Judge

    WITHOUT.save(tmp_path)
    assert Tokenizer.load(tmp_path).hash == WITHOUT.hash
    theirs = Judge.from_file(str(tmp_path / "tokenizer.json"))
    assert theirs.encode(TEXT).ids == WITHOUT.encode(TEXT).tolist()
    with pytest.raises(Exception, match="WordLevel"):
        theirs.encode("the dog")


def test_its_own_name_for_unknown_words_is_kept(tmp_path):
    tokenizer = WordTokenizer([b"", b"a", b" b"], {"[UNK]": 0}, roles={"unk": "[UNK]"})
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "special_tokens_map.json").unlink()
    assert Tokenizer.load(tmp_path).encode("a b c").tolist() == [1, 2, 0]
    assert Tokenizer.load(tmp_path).hash == tokenizer.hash
