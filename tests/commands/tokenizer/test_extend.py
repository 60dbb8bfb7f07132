"""`groundup tokenizer extend`, and counts that are kept."""

import json

import pytest

from groundup.cli import main
from groundup.tokenizer.protocol import Tokenizer

TEXT = "The fox saw a crow with a piece of cheese, and the crow saw the fox. It's mine, said the fox.\n" * 5


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "more.txt").write_text("A different text, of ships and of the sea and ships at sea.\n" * 5)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    return main(["tokenizer", *arguments, "--quiet"])


def test_a_larger_vocabulary_is_that_of_one_training(folder):
    assert run("train", "text.txt", "--vocab-size", "280", "--out", "small", "--counts", "counts") == 0
    extend = ("extend", "text.txt", "--tokenizer", "small", "--vocab-size", "300", "--counts", "counts")
    assert run(*extend, "--out", "large") == 0
    assert run("train", "text.txt", "--vocab-size", "300", "--out", "at-once") == 0
    assert Tokenizer.load("large").hash == Tokenizer.load("at-once").hash
    assert run("train", "counts", "--vocab-size", "300", "--out", "from-counts") == 0
    assert Tokenizer.load("from-counts").hash == Tokenizer.load("at-once").hash


def test_counts_of_two_corpora_are_joined(folder):
    for name in ("text", "more"):
        assert run("train", f"{name}.txt", "--vocab-size", "270", "--out", f"tok-{name}", "--counts", name) == 0
    assert run("train", "text", "more", "--vocab-size", "320", "--out", "joined") == 0
    assert run("train", "text.txt", "more.txt", "--vocab-size", "320", "--out", "at-once") == 0
    assert Tokenizer.load("joined").hash == Tokenizer.load("at-once").hash


@pytest.mark.parametrize(
    ("code", "sentence", "arguments"),
    [
        (2, "has 280 tokens already", ["extend", "text.txt", "--tokenizer", "small", "--vocab-size", "280"]),
        (3, "merges are possible", ["extend", "text.txt", "--tokenizer", "small", "--vocab-size", "9000"]),
        (3, "no such file", ["extend", "nothing.txt", "--tokenizer", "small", "--vocab-size", "300"]),
        (5, "no tokenizer here", ["extend", "text.txt", "--tokenizer", "nothing", "--vocab-size", "300"]),
        (2, "of other text", ["train", "more.txt", "--vocab-size", "270", "--counts", "counts"]),
        (2, "something already", ["train", "more.txt", "--vocab-size", "270", "--counts", "small"]),
        (
            3,
            "differ in pattern",
            ["train", "text.txt", "--vocab-size", "270", "--counts", "counts", "--pattern", "qwen2"],
        ),
        (3, "special tokens", ["train", "counts", "--vocab-size", "270", "--special-tokens", "<|x|>"]),
        (2, "unknown way to break ties", ["train", "text.txt", "--ties", "chance"]),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(folder, capfd, code, sentence, arguments):
    assert run("train", "text.txt", "--vocab-size", "280", "--out", "small", "--counts", "counts") == 0
    capfd.readouterr()
    assert run(*arguments, "--out", "out") == code
    stderr = capfd.readouterr().err
    assert sentence in stderr
    assert "Traceback" not in stderr
    assert not (folder / "out").exists()


def test_what_is_told(folder, capfd):
    assert run("train", "text.txt", "--vocab-size", "280", "--out", "small") == 0
    capfd.readouterr()
    assert run("extend", "text.txt", "--tokenizer", "small", "--vocab-size", "300", "--out", "large", "--json") == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["vocab_size"], told["trained_on_bytes"]) == (300, len(TEXT))
    assert run("extend", "text.txt", "--tokenizer", "small", "--vocab-size", "300", "--out", "no", "--dry-run") == 0
    assert not (folder / "no").exists()
