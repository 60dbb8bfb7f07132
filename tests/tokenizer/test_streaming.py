"""Ids of a stream and of a file are those of the whole text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup import artifact
from groundup.errors import DataError, UsageError
from groundup.tokenizer import segments, streaming
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.character import CharacterTokenizer
from groundup.tokenizer.train import train

TEXT = "It's a fox, isn't it? Yes!\n\n  It was, in 1999.<|endoftext|>\n我有一只猫，它叫咪咪。\n" * 40
TOKENIZER = train([TEXT], 310, pattern="cl100k")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(streaming, "CHUNK", 100)
    monkeypatch.setattr(segments, "SEGMENT", 200)


@pytest.mark.parametrize("allow_special", [(), "all", ("<|endoftext|>",)])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_chunks_of_any_size(size, allow_special):
    chunks = [TEXT[start : start + size] for start in range(0, len(TEXT), size)]
    expected = TOKENIZER.encode(TEXT, allow_special=allow_special).tolist()
    assert list(TOKENIZER.encode_iterable(chunks, allow_special=allow_special)) == expected


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from(["a b", " c,", "<|end of", " text|>", "，", "字", "\n", "'s", " "]), max_size=80))
def test_special_tokens_that_hold_borders_are_not_cut(words):
    tokens = [bytes([byte]) for byte in range(256)] + [b"", b""]
    tokenizer = BPE(tokens, [], {"<|end of text|>": 256, "b c, a": 257}, "cl100k")
    text = "".join(words)
    chunks = [text[start : start + 5] for start in range(0, len(text), 5)]
    for allow_special in ((), "all"):
        expected = tokenizer.encode(text, allow_special=allow_special).tolist()
        assert list(tokenizer.encode_iterable(chunks, allow_special=allow_special)) == expected


def test_a_pattern_without_known_borders_is_held_until_the_end():
    tokenizer = train([TEXT], 300, pattern=r"\w+\s\w+|\s+|\W")
    assert list(tokenizer.encode_iterable(TEXT.splitlines(True))) == tokenizer.encode(TEXT).tolist()


def test_characters_too():
    tokenizer = CharacterTokenizer.train([TEXT])
    assert list(tokenizer.encode_iterable(TEXT.splitlines(True))) == tokenizer.encode(TEXT).tolist()


@pytest.mark.parametrize("allow_special", [(), "all"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_file_to_shards(tmp_path, threads, allow_special):
    (tmp_path / "text.txt").write_bytes(TEXT.encode())
    shards = TOKENIZER.encode_file(
        tmp_path / "text.txt", tmp_path / "ids", ids_per_shard=500, threads=threads, allow_special=allow_special
    )
    ids = [np.fromfile(shard, "<u2") for shard in shards]
    assert [len(part) for part in ids[:-1]] == [500] * (len(ids) - 1)
    assert np.concatenate(ids).tolist() == TOKENIZER.encode(TEXT, allow_special=allow_special).tolist()
    facts = artifact.verify(tmp_path / "ids", checksums=True)
    assert (facts["n_ids"], facts["dtype"]) == (sum(map(len, ids)), "uint16")


def test_files_that_are_empty_or_not_there(tmp_path):
    (tmp_path / "empty.txt").touch()
    assert TOKENIZER.encode_file(tmp_path / "empty.txt", tmp_path / "ids") == []
    with pytest.raises(DataError, match="cannot be read"):
        TOKENIZER.encode_file(tmp_path / "nothing.txt", tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("ids_per_shard", [0, -1])
def test_shards_of_nothing_are_refused(tmp_path, ids_per_shard):
    (tmp_path / "text.txt").write_text("abc")
    with pytest.raises(UsageError):  # this wrote empty files for ever
        TOKENIZER.encode_file(tmp_path / "text.txt", tmp_path / "ids", ids_per_shard=ids_per_shard)
