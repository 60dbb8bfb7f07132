"""`groundup report`: the path on stdout, the exit codes."""

import json
from pathlib import Path

import pytest

from groundup.cli import main
from groundup.train.run_folder import RunFolder


def make_run(path: Path) -> Path:
    with RunFolder.open(path, verb="pretrain", config_toml="lr = 1.0\n", config_hash="a", facts={}, resume=True) as run:
        for step in range(1, 30):
            run.metric({"step": step, "train_loss": 9 / step, "lr": 0.1, "tokens": step, "seconds": step / 9})
    return path


def test_the_page_and_the_pictures(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run_dir = make_run(tmp_path / "run")
    assert main(["report", str(run_dir), "--dry-run"]) == 0
    assert capsys.readouterr().out == f"{run_dir / 'report.html'}\n" and not (run_dir / "report.html").exists()
    assert main(["report", str(run_dir)]) == 0
    assert capsys.readouterr().out == f"{run_dir / 'report.html'}\n" and (run_dir / "report.html").exists()
    assert main(["report", str(run_dir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] == str(run_dir / "report.html")


@pytest.mark.parametrize("name", ["", "absent", "empty"])
def test_no_run(tmp_path: Path, capsys: pytest.CaptureFixture, name: str) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["report", *([str(tmp_path / name)] if name else [])]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and "groundup runs list" in err
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_damaged_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run_dir = make_run(tmp_path / "run")
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    (run_dir / "metrics.jsonl").write_text("\n".join([*lines[:3], "oops", *lines[3:]]) + "\n")
    assert main(["report", str(run_dir)]) == 5
    assert "metrics.jsonl:4" in capsys.readouterr().err
