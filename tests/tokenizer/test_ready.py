"""The tokenizers that come with groundup open by name, here and in transformers, with equal ids."""

import pytest
import transformers

from groundup.tokenizer import files
from groundup.tokenizer.protocol import Tokenizer

TEXTS = ["Once upon a time there was a king.", "从前有一个国王，他有三个儿子。", "I've 1,234 cats\n\n  and 😀"]


def test_one_is_there():
    assert files.ready() == ["en-zh-8k"]


@pytest.mark.parametrize("name", files.ready())
def test_ids_are_those_of_transformers(name):
    tokenizer = Tokenizer.load(name)
    judge = transformers.AutoTokenizer.from_pretrained(str(files.READY / name))
    assert tokenizer.vocab_size == len(judge) == 8192
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert ids.tolist() == judge.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids) == text
    assert len(tokenizer.encode(TEXTS[0])) == 10
    assert len(tokenizer.encode(TEXTS[1])) < len(TEXTS[1])


def test_a_folder_of_the_same_name_goes_first(tmp_path, monkeypatch):
    other = files.load("en-zh-8k")
    other.special_ids = {}
    monkeypatch.chdir(tmp_path)
    files.save(other, tmp_path / "en-zh-8k")
    assert Tokenizer.load("en-zh-8k").special_ids == {}
