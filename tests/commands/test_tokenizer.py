"""`groundup tokenizer`: train, encode and decode as a person types them."""

import io
import json
import sys

import numpy as np
import pytest

from groundup.cli import main
from groundup.tokenizer.protocol import Tokenizer

TEXT = (
    "The cat's hat: 12 cats, 345 hats!\n你好，世界。 naïve 😀\nA fox saw a crow fly off with a piece of cheese.\n" * 5
)


@pytest.fixture
def text_file(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text(TEXT, encoding="utf-8")
    return file


@pytest.fixture
def folder(text_file, tmp_path):
    out = tmp_path / "trained"
    assert main(["tokenizer", "train", str(text_file), "--out", str(out), "--vocab-size", "300", "--quiet"]) == 0
    return out


def told(capfd):
    """(standard output, standard error)"""
    return tuple(capfd.readouterr())


def typed(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_train_writes_a_tokenizer_and_says_what_it_is(text_file, tmp_path, capfd):
    out = tmp_path / "out"
    arguments = ["tokenizer", "train", str(text_file), "--out", str(out), "--vocab-size", "310", "--pattern", "llama3"]
    assert main([*arguments, "--json"]) == 0
    stdout, stderr = told(capfd)
    facts = json.loads(stdout)
    tokenizer = Tokenizer.load(out)
    assert facts["vocab_size"] == tokenizer.vocab_size == 310
    assert facts["trained_on_bytes"] == len(TEXT.encode())
    assert facts["hash"] == tokenizer.hash
    assert facts["bytes_per_token"] == pytest.approx(len(TEXT.encode()) / len(tokenizer.encode(TEXT)), abs=1e-3)
    assert "310 tokens" in stderr
    assert "bytes per token" in stderr


def test_train_reads_several_files_and_stops_at_max_bytes(text_file, tmp_path, capfd):
    lines = tmp_path / "more.jsonl"
    lines.write_text(json.dumps({"story": "Once upon a time."}) + "\n")
    common = ["--vocab-size", "262", "--json", "--quiet"]
    both = ["tokenizer", "train", str(lines), str(text_file), "--text-field", "story"]
    assert main([*both, "--out", str(tmp_path / "a"), *common]) == 0
    stdout, stderr = told(capfd)
    assert json.loads(stdout)["trained_on_bytes"] == 17 + len(TEXT.encode())
    assert stderr == ""
    assert main([*both, "--out", str(tmp_path / "b"), "--max-bytes", "55", *common]) == 0
    # The 55th byte lies inside a character, which is left out whole.
    assert json.loads(told(capfd)[0])["trained_on_bytes"] == 54


def test_a_dry_run_writes_nothing(text_file, tmp_path, capfd):
    assert main(["tokenizer", "train", str(text_file), "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    assert "would train 4096 tokens" in told(capfd)[1]
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_an_existing_folder_is_replaced_only_when_told(folder, text_file, capfd):
    before = Tokenizer.load(folder).hash
    again = ["tokenizer", "train", str(text_file), "--out", str(folder), "--vocab-size", "280"]
    assert main(again) == 2
    assert "--replace" in told(capfd)[1]
    assert Tokenizer.load(folder).hash == before
    assert main([*again, "--replace"]) == 0
    assert Tokenizer.load(folder).vocab_size == 280


BAD = {
    "too small: 256 bytes and 4 special": (2, ["--vocab-size", "100"]),
    "merges are possible": (3, ["--vocab-size", "50000"]),
    "unknown split pattern": (2, ["--pattern", "gpt9"]),
    "cannot be a special token": (2, ["--special-tokens", "end"]),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(message, text_file, tmp_path, capfd):
    code, arguments = BAD[message]
    assert main(["tokenizer", "train", str(text_file), "--out", str(tmp_path / "out"), *arguments]) == code
    stdout, stderr = told(capfd)
    assert message in stderr
    assert "Traceback" not in stderr
    assert stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


@pytest.mark.parametrize("content", [None, b"", b"\x00\x01\x02" * 100])
def test_text_that_is_absent_empty_or_binary_is_exit_code_3(content, tmp_path, capfd):
    file = tmp_path / "x.txt"
    if content is not None:
        file.write_bytes(content)
    assert main(["tokenizer", "train", str(file), "--out", str(tmp_path / "out")]) == 3
    assert told(capfd)[1].count("error:") == 1
    assert not (tmp_path / "out").exists()


def test_encode_and_decode_from_arguments_files_and_standard_input(folder, tmp_path, monkeypatch, capfd):
    text = "The 你好 cats 😀\n<|im_end|> \n"
    tokenizer = Tokenizer.load(folder)
    assert main(["tokenizer", "encode", "--tokenizer", str(folder), text]) == 0
    printed = told(capfd)[0]
    assert [int(word) for word in printed.split()] == tokenizer.encode(text).tolist()

    (tmp_path / "in.txt").write_bytes(text.encode())
    assert main(["tokenizer", "encode", "--tokenizer", str(folder), "--file", str(tmp_path / "in.txt")]) == 0
    assert told(capfd)[0] == printed
    typed(monkeypatch, text.encode())
    assert main(["tokenizer", "encode", "--tokenizer", str(folder), "--json"]) == 0
    as_json = told(capfd)[0]
    assert json.loads(as_json)["ids"] == tokenizer.encode(text).tolist()

    for data in (printed.encode(), as_json.encode(), str(json.loads(as_json)["ids"]).encode()):
        typed(monkeypatch, data)
        assert main(["tokenizer", "decode", "--tokenizer", str(folder)]) == 0
        assert told(capfd)[0] == text
    assert main(["tokenizer", "decode", "--tokenizer", str(folder), *printed.split()]) == 0
    assert told(capfd)[0] == text


@pytest.mark.parametrize("suffix", [".npy", ".bin"])
def test_ids_go_through_files_and_bytes_come_back(suffix, folder, tmp_path, capfdbinary):
    data = b"\xff\xfe The cat \x00"
    (tmp_path / "in").write_bytes(data)
    ids = tmp_path / f"ids{suffix}"
    encode = ["tokenizer", "encode", "--tokenizer", str(folder), "--file", str(tmp_path / "in"), "--out", str(ids)]
    assert main([*encode, "--dry-run"]) == 0
    assert not ids.exists()
    assert main(encode) == 0
    read = np.load(ids) if suffix == ".npy" else np.fromfile(ids, "<u2")
    assert read.tolist() == Tokenizer.load(folder).encode(data).tolist()
    capfdbinary.readouterr()
    assert main(["tokenizer", "decode", "--tokenizer", str(folder), "--file", str(ids)]) == 0
    assert capfdbinary.readouterr().out == data


def test_special_tokens_are_shown_unless_left_out(folder, capfd):
    assert main(["tokenizer", "decode", "--tokenizer", str(folder), "1", "68", "2"]) == 0
    assert told(capfd)[0] == "<|im_start|>a<|im_end|>"
    assert main(["tokenizer", "decode", "--tokenizer", str(folder), "1", "68", "2", "--skip-special", "--json"]) == 0
    assert json.loads(told(capfd)[0]) == {"n_tokens": 3, "text": "a"}


WRONG_CALLS = {
    "no tokenizer here": (5, ["encode", "--tokenizer", "nowhere", "x"]),
    "outside the vocabulary of 300": (3, ["decode", "--tokenizer", "FOLDER", "300"]),
    "cannot be read": (3, ["encode", "--tokenizer", "FOLDER", "--file", "nowhere.txt"]),
    "no such file": (3, ["decode", "--tokenizer", "FOLDER", "--file", "nowhere.npy"]),
    "give one of them": (2, ["encode", "--tokenizer", "FOLDER", "x", "--file", "y"]),
    "must end in .npy": (2, ["encode", "--tokenizer", "FOLDER", "x", "--out", "ids.txt"]),
}


@pytest.mark.parametrize("message", WRONG_CALLS)
def test_wrong_calls_are_told(message, folder, capfd):
    code, arguments = WRONG_CALLS[message]
    assert main(["tokenizer", *(str(folder) if word == "FOLDER" else word for word in arguments)]) == code
    stdout, stderr = told(capfd)
    assert message in stderr
    assert stdout == ""


def test_what_is_typed_and_is_no_id_is_told(folder, monkeypatch, capfd):
    typed(monkeypatch, b"65 six")
    assert main(["tokenizer", "decode", "--tokenizer", str(folder)]) == 3
    assert "'six' is not a token id" in told(capfd)[1]
