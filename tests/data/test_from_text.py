"""Raw text to a tokenizer and shards, for a command that was given files."""

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from groundup.data import from_text
from groundup.text.records import Document
from groundup.tokenizer.character import CharacterTokenizer

TRAIN = [Document("to be, or not to be\n" * 20), Document("that is the question\n" * 20)]
VAL = [Document("whether 'tis nobler in the mind to suffer\n" * 3)]


@contextmanager
def phase(what, total=None, unit=""):
    yield SimpleNamespace(done=0, advance=lambda n=1: None)


@pytest.fixture
def made(tmp_path: Path):
    def everything():
        return [*TRAIN, *VAL]

    tokenizer = from_text.tokenizer_for(everything, tmp_path / "tokenizer", phase, vocab_size=9, pattern="characters")
    data = from_text.shards_for(
        lambda: TRAIN, tokenizer, tmp_path / "data", phase,
        val_fraction=0.1, seed=0, processes=1, notice=pytest.fail, held_out=lambda: VAL,
    )  # fmt: skip
    return tokenizer, data


def test_every_character_is_a_token(made):
    tokenizer, _ = made
    assert isinstance(tokenizer, CharacterTokenizer)
    text = "".join(document.text for document in [*TRAIN, *VAL])
    assert tokenizer.vocab_size == len(set(text)) + 3
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_what_is_held_out_is_what_was_named(made):
    tokenizer, data = made
    assert tokenizer.decode(data.split("val").ids[:-1]) == VAL[0].text
    assert data.split("train").n_documents == 2


def test_what_exists_is_kept(made, tmp_path: Path):
    tokenizer, data = made

    def nothing():
        raise AssertionError("read again")

    again = from_text.tokenizer_for(nothing, tmp_path / "tokenizer", phase, vocab_size=9, pattern="characters")
    assert again.hash == tokenizer.hash
    kept = from_text.shards_for(
        nothing, again, tmp_path / "data", phase, val_fraction=0.1, seed=0, processes=1, notice=pytest.fail
    )
    assert kept.manifest == data.manifest
