"""`groundup runs list` and `groundup runs show`."""

import json
from pathlib import Path

import pytest

from groundup.cli import main
from groundup.train.run_folder import RunFolder


def make_run(path: Path, verb: str = "pretrain", n_steps: int = 5) -> Path:
    with RunFolder.open(path, verb=verb, config_toml="", config_hash="a", facts={"seed": 3}, resume=True) as run:
        for step in range(1, n_steps + 1):
            run.metric({"step": step, "train_loss": 9 / step, "tokens": step * 512, "seconds": step / 10})
        if n_steps:
            run.metric({"step": n_steps, "val_loss": 1.98765, "val_bits_per_byte": 0.8765})
            run.sample(n_steps, "Once", " upon\x1b[2J a time. " + 40 * "word ")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_run(tmp_path / "runs" / "demo", "demo", n_steps=0)
    make_run(tmp_path / "runs" / "demo" / "pretrain")
    make_run(tmp_path / "runs" / "sft-1 \u4f60\u597d", "sft", n_steps=1234)
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "runs" / "file").write_text("")
    return tmp_path / "runs"


def test_list(root: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["runs", "list", "--root", str(root)]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["name", "verb", "state", "steps"]
    assert [line.split()[0] for line in lines] == ["demo", "demo/pretrain", "sft-1"]
    assert "1,234" in lines[2] and "1.988" in lines[2] and "0.876" in lines[2] and "kB" in lines[2]
    assert all("finished" in line for line in lines)


def test_list_as_json(root: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["runs", "list", "--root", str(root), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["demo", "demo/pretrain", "sft-1 \u4f60\u597d"]
    assert rows[1]["step"] == 5 and rows[1]["val_loss"] == 1.98765 and rows[1]["bytes"] > 100


def test_a_damaged_run_hides_no_other(root: Path, capsys: pytest.CaptureFixture) -> None:
    (root / "demo" / "run.json").write_text("{")
    assert main(["runs", "list", "--root", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "damaged" in lines[1] and "finished" in lines[2] and len(lines) == 4


def test_no_runs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["runs", "list", "--root", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out == "" and "no runs" in err
    assert main(["runs", "list", "--root", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["runs", "list", "--root", str(tmp_path / "absent")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_show(root: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["runs", "show", str(root / "demo" / "pretrain")]) == 0
    shown = capsys.readouterr().out
    assert "5 steps, 2.56k tokens" in shown and "val loss 1.988  0.876 bits per byte" in shown
    assert "after 'Once'" in shown and "\x1b" not in shown
    assert max(len(line) for line in shown.split("after 'Once':")[1].splitlines()) <= 40
    assert main(["runs", "show", str(root / "demo" / "pretrain"), "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["run"]["facts"] == {"seed": 3} and about["evaluations"][0]["val_loss"] == 1.98765


@pytest.mark.parametrize("name", ["", "absent", "notes"])
def test_show_without_a_run(root: Path, capsys: pytest.CaptureFixture, name: str) -> None:
    assert main(["runs", "show", *([str(root / name)] if name else [])]) == 2
    assert "groundup runs list" in capsys.readouterr().err
