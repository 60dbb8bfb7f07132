"""`groundup data prepare` and `groundup data inspect`, as typed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from groundup import cli
from groundup.data.shards import TokenData
from groundup.tokenizer import train
from groundup.tokenizer.protocol import Tokenizer

STORIES = [f"Story {i}: Mia has {i} apples and gives {i % 7} to Tom.\n" for i in range(120)]
ROWS = [{"instruction": f"What is {i} + 1?", "input": "", "output": f"It is {i + 1}."} for i in range(60)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a tokenizer, text and conversations."""
    monkeypatch.chdir(tmp_path)
    train.train(STORIES, 300).save(tmp_path / "tokenizer")
    (tmp_path / "stories.txt").write_text("<|endoftext|>".join(STORIES))
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    return tmp_path


def test_text_prepared_and_inspected(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "prepare", "stories.txt", "--tokenizer", "tokenizer", "--out", "data", "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert sum(counts["documents"] for counts in manifest["counts"].values()) == 120
    assert cli.main(["data", "inspect", "data", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["counts"] == manifest["counts"] and report["special_tokens"]["<|endoftext|>"]["count"] > 100
    assert cli.main(["data", "inspect", "data"]) == 0
    out = capsys.readouterr().out
    assert "Story" in out and "good       end tokens" in out and "most frequent" in out


def test_conversations_prepared_and_inspected(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare = ["data", "prepare", "rows.json", "--conversations", "--tokenizer", "tokenizer", "--out", "data"]
    assert cli.main([*prepare, "--context-length", "64"]) == 0
    assert "read 60 x alpaca" in capsys.readouterr().err
    assert TokenData.open(here / "data").manifest["context_length"] == 64
    assert cli.main(["data", "inspect", "data"]) == 0
    assert "[It is" in capsys.readouterr().out
    assert cli.main(["data", "inspect", "rows.json"]) == 0
    out = capsys.readouterr().out
    assert "alpaca 60" in out and "<|im_start|>user\nWhat is 0 + 1?<|im_end|>" in out and "[It is 1.<|im_end|>]" in out


def test_raw_text_inspected(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "inspect", "stories.txt"]) == 0
    out = capsys.readouterr().out
    assert "documents                120" in out and "Story 0: Mia" in out and "good       share of documents" in out


def test_ids_prepared(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = Tokenizer.load(here / "tokenizer")
    np.save("ids.npy", np.concatenate([tokenizer.encode(story) for story in STORIES]))
    assert cli.main(["data", "prepare", "ids.npy", "--tokenizer", "tokenizer", "--out", "data"]) == 0
    assert TokenData.open(here / "data").manifest["split"]["rule"] == "the end of the longest document"
    capsys.readouterr()
    assert (
        cli.main(["data", "prepare", "ids.npy", "--tokenizer", "tokenizer", "--out", "x", "--dry-run", "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["tokens"] == len(np.load("ids.npy"))
    np.save("wrong.npy", np.array([5, 300]))
    assert cli.main(["data", "prepare", "wrong.npy", "--tokenizer", "tokenizer", "--out", "wrong"]) == 3
    assert "token id 300 is outside the vocabulary of 300" in capsys.readouterr().err
    assert not Path("wrong").exists()


def test_dry_run_writes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(here.rglob("*"))
    common = ["--tokenizer", "tokenizer", "--out", "data", "--dry-run"]
    assert cli.main(["data", "prepare", "stories.txt", *common]) == 0
    assert cli.main(["data", "prepare", "rows.json", "--conversations", *common]) == 0
    assert sorted(here.rglob("*")) == before
    err = capsys.readouterr().err
    assert "would write data: 120 documents" in err and "would write data: 60 conversations" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["stories.txt", "--tokenizer", "nothing"], 5, "nothing"),
        (["nowhere.txt", "--tokenizer", "tokenizer"], 3, "no such file or folder"),
        (["rows.json", "--tokenizer", "tokenizer"], 3, "no key 'text'"),
        (["stories.txt", "ids.npy", "--tokenizer", "tokenizer"], 2, "cannot be mixed"),
        (["empty", "--tokenizer", "tokenizer"], 3, "no file in it"),
        (["stories.txt", "--tokenizer", "tokenizer", "--val-fraction", "2"], 2, "val_fraction is 2"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_written(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    (here / "empty").mkdir()
    assert cli.main(["data", "prepare", *arguments, "--out", "out"]) == code
    err = capsys.readouterr().err
    assert said in err and err.count("error:") == 1 and "Traceback" not in err
    assert not (here / "out").exists() and not list(here.glob(".tmp-*"))


def test_existing_folder_stays_unless_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare = ["data", "prepare", "stories.txt", "--tokenizer", "tokenizer", "--out", "data", "--quiet"]
    assert cli.main(prepare) == 0
    assert cli.main([*prepare, "--seed", "1"]) == 2
    assert "there is something already" in capsys.readouterr().err
    assert cli.main([*prepare, "--seed", "1", "--replace"]) == 0
    assert TokenData.open(here / "data").manifest["split"]["seed"] == 1


def test_unsuitable_data_leaves_with_3(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "same.txt").write_text("<|endoftext|>".join(["The same words, again and again and again. " * 9] * 90))
    assert cli.main(["data", "prepare", "same.txt", "--tokenizer", "tokenizer", "--out", "data"]) == 0
    assert cli.main(["data", "inspect", "data"]) == 3
    assert "unsuitable repeated 32-token stretches" in capsys.readouterr().out


def test_narrow_output_encoding_and_closed_pipe(here: Path) -> None:
    Path("zh.jsonl").write_text(json.dumps({"instruction": "天气？", "output": "晴 \x1b[2J"}, ensure_ascii=False))
    command = [sys.executable, "-m", "groundup", "data", "inspect", "zh.jsonl"]
    root = Path(__file__).parent.parent.parent
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(root), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0 and r"\u6674" in done.stdout and "\x1b" not in done.stdout
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 0
