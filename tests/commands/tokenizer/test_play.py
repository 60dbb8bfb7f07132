"""`groundup tokenizer play` as a person types it."""

import io
import json
import sys

import pytest

from groundup.cli import main
from groundup.tokenizer.character import CharacterTokenizer
from groundup.tokenizer.protocol import Tokenizer


def play(capfd, *arguments):
    code = main(["tokenizer", "play", *map(str, arguments)])
    stdout, stderr = capfd.readouterr()
    return code, stdout, stderr


@pytest.fixture
def typed(monkeypatch):
    def type_(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return type_


def test_it_writes_a_page(folder, tmp_path, capfd):
    page = tmp_path / "pages" / "play.html"
    code, stdout, stderr = play(capfd, folder, "--out", page)
    assert (code, stdout) == (0, f"{page}\n")
    assert "MB with 700 tokens" in stderr
    assert "<h1>tok</h1>" in page.read_text()
    code, stdout, stderr = play(capfd, folder, "--out", page)
    assert code == 2 and "--replace" in stderr
    code, stdout, stderr = play(capfd, folder, "--out", page, "--replace", "--json", "--quiet")
    assert (code, stderr) == (0, "")
    assert json.loads(stdout) == {"page": str(page), "bytes": page.stat().st_size, "vocab_size": 700}


def test_a_dry_run_writes_nothing(folder, tmp_path, capfd):
    code, _, stderr = play(capfd, folder, "--out", tmp_path / "new" / "play.html", "--dry-run")
    assert code == 0 and "would write" in stderr
    assert list(tmp_path.iterdir()) == []


def test_lines_are_shown_in_pieces(folder, typed, capfd):
    typed("The boats 你\n\nand".encode() + b"\xff")
    code, stdout, stderr = play(capfd, folder, "--steps")
    assert (code, stderr) == (0, "")
    ids = Tokenizer.load(folder).encode("The boats 你").tolist()
    assert " ".join(map(str, ids)) in stdout
    assert stdout.replace("|", "").startswith("The ␣boats ␣<E4><BD><A0>\n")
    assert f"{len(ids)} tokens, 13 bytes" in stdout
    assert "  0  T h e\n" in stdout
    assert "<FF>" in stdout


def test_lines_as_json(folder, typed, capfd):
    typed(b"The boats\n\nx")
    code, stdout, _ = play(capfd, folder, "--json", "--steps")
    rows = [json.loads(line) for line in stdout.splitlines()]
    assert code == 0
    assert [row["text"] for row in rows] == ["The boats", "", "x"]
    assert rows[0]["ids"] == Tokenizer.load(folder).encode("The boats").tolist()
    assert "".join(token for piece in rows[0]["pieces"] for token in piece) == "The␣boats"
    assert rows[0]["steps"][0][0].keys() == {"rank", "id", "left", "right"}


def test_a_tokenizer_without_merges_plays_in_the_terminal_alone(tmp_path, typed, capfd):
    CharacterTokenizer.train(["abc"]).save(tmp_path / "characters")
    typed(b"abx")
    code, stdout, _ = play(capfd, tmp_path / "characters")
    assert code == 0 and stdout.startswith("a b <|unk|>")
    code, stdout, stderr = play(capfd, tmp_path / "characters", "--out", tmp_path / "x.html")
    assert code == 2 and "another kind: character" in stderr and stdout == ""


def test_wrong_calls_are_told(folder, tmp_path, capfd):
    assert play(capfd, "nowhere")[0] == 5
    assert play(capfd, "nowhere", "--out", tmp_path / "x.html")[0] == 5
    code, stdout, stderr = play(capfd, folder, "--out", tmp_path / "x.txt")
    assert (code, stdout) == (2, "") and "must end in .html" in stderr


def test_nothing_typed_is_nothing_shown(folder, typed, capfd):
    typed(b"")
    assert play(capfd, folder) == (0, "", "")
