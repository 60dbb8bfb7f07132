"""`groundup tokenizer inspect` as a person types it."""

import json

import pytest

from groundup.cli import main
from groundup.tokenizer.character import CharacterTokenizer
from groundup.tokenizer.protocol import Tokenizer


def inspect(capfd, *arguments):
    code = main(["tokenizer", "inspect", *map(str, arguments)])
    stdout, stderr = capfd.readouterr()
    return code, stdout, stderr


def test_it_says_what_is_in_a_tokenizer(folder, capfd):
    code, stdout, stderr = inspect(capfd, folder)
    assert (code, stderr) == (0, "")
    for words in ("700 tokens: 256 single bytes, 440 merges", "pattern     gpt2", "0 <|endoftext|>", "Longest tokens",
                  "Tokens by script", "Latin", "part of a character"):  # fmt: skip
        assert words in stdout
    assert "In the text" not in stdout


def test_json_has_every_odd_and_unused_token(folder, tmp_path, capfd):
    text = tmp_path / "text.txt"
    text.write_text("the boats that had gone out " * 50)
    code, stdout, _ = inspect(capfd, folder, "--text", text, "--json", "--rows", "2")
    assert code == 0
    report = json.loads(stdout)
    tokenizer = Tokenizer.load(folder)
    assert report["hash"] == tokenizer.hash
    assert sum(report["letters"].values()) == 696
    parts = report["odd"]["part of a character"]
    assert len(parts["tokens"]) == parts["count"] > 2
    used = set(tokenizer.encode(text.read_text()).tolist())
    assert {row["id"] for row in report["use"]["unused"]} == set(range(4, 700)) - used
    assert len(report["use"]["most_used"]) == 2
    assert report["use"]["tokens"] == len(tokenizer.encode(text.read_text()))
    shown = inspect(capfd, folder, "--text", text)[1]
    assert f"never used: {report['use']['unused_count']:,} tokens" in shown


def test_a_word_is_drawn_as_it_was_joined(folder, capfd):
    code, stdout, _ = inspect(capfd, folder, "--word", " the", " 你")
    assert code == 0
    assert stdout.startswith("␣the: 4 bytes, 1 token\n\n  0  ␣ t h e\n")
    assert "├─ " in stdout and "└─ " in stdout
    assert "␣你: 4 bytes" in stdout and "Longest tokens" not in stdout
    code, stdout, _ = inspect(capfd, folder, "--word", "the cat", "--json")
    (word,) = json.loads(stdout)["words"]
    assert word["ids"] == Tokenizer.load(folder).encode("the cat").tolist()
    assert [bytes.fromhex(piece["bytes"]) for piece in word["pieces"]] == [b"the", b" cat"]


def test_a_tokenizer_without_merges_is_shown_too(tmp_path, capfd):
    CharacterTokenizer.train(["abc 你好"]).save(tmp_path)
    code, stdout, _ = inspect(capfd, tmp_path)
    assert code == 0
    assert "kind        character" in stdout and "Odd tokens: none" in stdout
    code, stdout, stderr = inspect(capfd, tmp_path, "--word", "abc")
    assert code == 2 and "another kind: character" in stderr and stdout == ""


WRONG_CALLS = {
    "no tokenizer here": (5, ["nowhere"]),
    "too small": (2, ["FOLDER", "--rows", "-1"]),
    "this number is": (2, ["FOLDER", "--max-bytes", "0"]),
    "no such file": (3, ["FOLDER", "--text", "nowhere.txt"]),
    "no text in it": (3, ["FOLDER", "--text", "EMPTY"]),
}


@pytest.mark.parametrize("message", WRONG_CALLS)
def test_wrong_calls_are_told(message, folder, tmp_path, capfd):
    (tmp_path / "empty.txt").write_text("")
    code, arguments = WRONG_CALLS[message]
    words = {"FOLDER": folder, "EMPTY": tmp_path / "empty.txt"}
    found, stdout, stderr = inspect(capfd, *(words.get(word, word) for word in arguments))
    assert found == code
    assert message in stderr and stderr.count("error:") == 1
    assert stdout == ""
