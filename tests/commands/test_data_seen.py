"""`groundup data batch`, `where` and `clean`, as typed, on runs whose folders are written by hand."""

import json
from pathlib import Path

import pytest

from groundup import artifact, cli
from groundup.data import ledger, shards
from groundup.data.batches import Packed, Windows
from groundup.data.shards import TokenData
from groundup.text.records import Conversation, Document, Message
from groundup.tokenizer import train

STORIES = [f"Story {i}: Mia has {i} apples and gives {i % 7} to Tom." for i in range(60)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a run of pretraining and one of tuning, forty steps old."""
    monkeypatch.chdir(tmp_path)
    tokenizer = train.train(STORIES, 300)
    shards.prepare([Document(story) for story in STORIES], tokenizer, "data")
    said = [Conversation((Message("user", story), Message("assistant", "Yes."))) for story in STORIES]
    shards.prepare_conversations(said, tokenizer, "chats")
    loop = "[train]\nbatch_size = 4\nseed = 5\n"
    write_run("one", f'data = "data"\ncontext_length = 16\nsampler = "random"\nban = [3]\n{loop}')
    write_run("two", f'data = ["chats"]\ncontext_length = 120\nshuffle = false\n{loop}')
    return tmp_path


def write_run(name: str, config: str) -> None:
    folder = Path("runs", name)
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    (folder / "config.toml").write_text(config)
    (folder / "metrics.jsonl").write_text("".join(json.dumps({"step": step}) + "\n" for step in range(1, 41)))


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    assert cli.main(["data", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_documents_of_a_step(here: Path, capsys: pytest.CaptureFixture[str]):
    split = TokenData.open("data").split("train")
    windows = Windows(split, 16, 4, 5, "random", frozenset({3}))
    found = said(capsys, "batch", "runs/one", "--step", "7", "--text")
    spans = [(s.row, s.document, s.start, s.stop) for s in ledger.spans(windows, 6)]
    assert [(row["row"], row["document"], row["start"], row["stop"]) for row in found["spans"]] == spans
    stories = "<|endoftext|>".join(STORIES) + "<|endoftext|>"
    assert all(row["text"] in stories for row in found["spans"])
    assert cli.main(["data", "batch", "runs/one", "--step", "41"]) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) > 4 and "made 40 steps so far" in shown.err and "--ban" in shown.err


def test_the_conversations_of_a_step(here: Path, capsys: pytest.CaptureFixture[str]):
    packed = Packed(TokenData.open("chats").split("train"), 120, 4, 5, shuffle=False)
    found = said(capsys, "batch", "runs/two", "--step", "1")
    assert [row["document"] for row in found["spans"]] == [span.document for span in ledger.spans(packed, 0)]


@pytest.mark.parametrize("run", ["one", "two"])
def test_where_a_document_was_seen(here: Path, capsys: pytest.CaptureFixture[str], run: str):
    found = said(capsys, "where", f"runs/{run}", "--document", "9")
    assert found["n_steps"] == 40 and found["places"]
    for place in found["places"][:5]:
        spans = said(capsys, "batch", f"runs/{run}", "--step", str(place["step"]))["spans"]
        assert (place["row"], 9) in {(row["row"], row["document"]) for row in spans}
    assert cli.main(["data", "where", f"runs/{run}", "--document", "9"]) == 0
    steps = len({place["step"] for place in found["places"]})
    assert f"document 9 was in {steps} of 40 steps" in capsys.readouterr().err


def test_a_banned_document_is_nowhere(here: Path, capsys: pytest.CaptureFixture[str]):
    assert said(capsys, "where", "runs/one", "--document", "3")["places"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["batch", "runs/none"], 2, "there is no run"),
        (["batch"], 2, "no run was named"),
        (["batch", "runs/one", "--step", "0"], 2, "there is no step 0"),
        (["where", "runs/one", "--document", "999"], 2, "no document 999"),
        (["clean"], 2, "no run was named"),
        (["clean", "data"], 5, "holds no run"),
    ],
)
def test_what_cannot_be_meant(here: Path, capsys: pytest.CaptureFixture[str], arguments, code, words):
    assert cli.main(["data", *arguments]) == code
    assert words in capsys.readouterr().err


def test_data_that_was_cleaned_away(here: Path, capsys: pytest.CaptureFixture[str]):
    artifact.remove(Path("data"))
    assert cli.main(["data", "batch", "runs/one"]) == 3
    assert "the token data of the run is not there" in capsys.readouterr().err


def test_clean_lists_first_and_then_removes(here: Path, capsys: pytest.CaptureFixture[str]):
    Path("text.txt").write_text("words")
    run = Path("runs/one")
    (run / "config.toml").write_text('data = "text.txt"\n')
    (run / "data").mkdir()
    (run / "data" / "manifest.json").write_text("{}")
    assert cli.main(["data", "clean", "runs/one", "--dry-run"]) == 0
    assert "would free 2B" in capsys.readouterr().err.replace(" B", "B") and (run / "data").exists()
    found = said(capsys, "clean", "runs/one")
    assert found["removed"] and [entry["path"] for entry in found["entries"]] == [str(run / "data")]
    assert not (run / "data").exists()
    assert cli.main(["data", "clean", "runs/one"]) == 0
    assert "nothing to remove" in capsys.readouterr().err
    with artifact.lock(run):
        assert cli.main(["data", "clean", "runs/one", "--dry-run"]) == 4
