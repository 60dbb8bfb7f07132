"""The demo in small: every phase, going on after an interruption, and one's own text."""

import json
from pathlib import Path

import pytest

from groundup.cli import main
from groundup.text import stories

SMALL = ["--corpus-mb", "0.3", "--n-conversations", "800", "--vocab-size", "600", "--minutes", "0.05", "--size", "nano"]
KEYS = {
    "seconds", "seconds_by_phase", "peak_memory_mb", "n_questions", "accuracy", "accuracy_by_kind", "val_bits_per_byte",
    "run_dir", "checkpoint", "story",
}  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def demo(capsys, *arguments: str) -> tuple[int, dict, str]:
    code = main(["demo", "--json", "--quiet", *arguments])
    out = capsys.readouterr()
    return code, json.loads(out.out.splitlines()[-1]) if out.out else {}, out.err


def test_all_phases_and_again_without_work(here, capsys):
    code, summary, err = demo(capsys, *SMALL)
    assert code == 0, err
    assert set(summary) >= KEYS
    assert list(summary["seconds_by_phase"]) == [
        "corpus", "tokenizer", "shards", "pretrain", "sft", "evaluate", "report",
    ]  # fmt: skip
    assert summary["n_questions"] >= 300 and 0 <= summary["accuracy"] < 1
    assert set(summary["accuracy_by_kind"]) >= {"passage", "fact", "sum", "opposite"}
    assert summary["story"].startswith("Once upon a time")
    page = (here / "runs/demo/report.html").read_text()
    assert "held-out questions" in page and "http" not in page.replace("http-equiv", "")
    rows = [json.loads(line) for line in (here / "runs/demo/questions.jsonl").read_text().splitlines()]
    assert sum(row["scored"] for row in rows) == summary["n_questions"]

    assert main(["generate", "runs/demo", "Once upon a time", "--max-new-tokens", "5", "--quiet"]) == 0
    assert capsys.readouterr().out

    weights = (Path(summary["checkpoint"]) / "model.safetensors").read_bytes()
    code, again, err = demo(capsys, *SMALL)
    assert code == 0, err
    assert (Path(again["checkpoint"]) / "model.safetensors").read_bytes() == weights
    assert again["accuracy"] == summary["accuracy"]

    code, _, err = demo(capsys, *SMALL, "--seed", "7")
    assert code == 2 and "seed" in err
    code, fresh, err = demo(capsys, *SMALL, "--seed", "7", "--fresh", "--skip", "sft", "--skip", "evaluate")
    assert code == 0, err
    assert fresh["accuracy"] is None and "sft" not in fresh["seconds_by_phase"]


def test_own_text_and_conversations(here, capsys):
    texts = here / "texts"
    texts.mkdir()
    for number in range(30):
        (texts / f"{number}.md").write_text("\n\n".join(stories.story(1, 10 * number + k) for k in range(10)))
    talks = here / "talks.jsonl"
    rows = [{"instruction": f"Say {n}", "input": "", "output": f"{n}."} for n in range(60)]
    talks.write_text("\n".join(map(json.dumps, rows)))

    own = ["--data", str(texts), "--vocab-size", "400", "--minutes", "0.03", "--size", "nano"]
    code, summary, err = demo(capsys, *own)
    assert code == 0, err
    assert summary["accuracy"] is None and summary["story"]
    assert "sft_val_loss" not in summary

    code, summary, err = demo(capsys, *own, "--sft", str(talks), "--run-dir", "runs/own")
    assert code == 0, err
    assert summary["sft_val_loss"] > 0 and summary["accuracy"] is None


def test_missing_input_is_one_sentence(here, capsys):
    for arguments in (["--data", "nowhere"], ["--minutes", "-1"], ["--skip", "tokenizer"]):
        code, _, err = demo(capsys, *arguments)
        assert code == 2 and err.startswith("error:") and "Traceback" not in err
    assert not (here / "runs").exists()


def test_dry_run_writes_nothing(here, capsys):
    code, plan, _ = demo(capsys, "--dry-run")
    assert code == 0 and "pretrain" in plan["phases"]
    assert not (here / "runs").exists()
