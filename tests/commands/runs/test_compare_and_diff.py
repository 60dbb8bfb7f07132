"""`groundup runs compare` and `groundup runs diff`."""

import json
from pathlib import Path

import pytest

from groundup.cli import main
from groundup.commands.runs.summary import unlike
from groundup.train import card
from groundup.train.run_folder import RunFolder


def make_run(path: Path, lr: float = 1e-3, n_steps: int = 5, n_threads: int = 2) -> Path:
    toml = f'data = "books"\nrun_dir = "{path.name}"\n\n[train]\nlr = {lr}\nseed = 0\n'
    facts = {"seed": 0, "n_parameters": 100, "tokenizer": "a" * 32}
    with RunFolder.open(path, verb="pretrain", config_toml=toml, config_hash="", facts=facts, resume=True) as run:
        run.run["machine"]["n_threads"] = n_threads
        run.metric({"step": 0, "val_loss": 6.0, "val_bits_per_byte": 2.0})
        for step in range(1, n_steps + 1):
            run.metric({"step": step, "train_loss": 9 / step - lr * (step > 2), "tokens": step * 512, "seconds": step})
        run.metric({"step": n_steps, "val_loss": 2.0 - lr, "val_bits_per_byte": 0.9 - lr})
    return path


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    paths = (make_run(tmp_path / "a"), make_run(tmp_path / "b", lr=0.5, n_threads=4), make_run(tmp_path / "c"))
    return [str(path) for path in paths]


def test_diff_says_what_differs_and_where_the_losses_part(runs: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(["runs", "diff", *runs[:2]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["a", "b"], ["config.train.lr", "0.001", "0.5"], ["machine.n_threads", "2", "4"],
    ]  # fmt: skip
    assert lines[3].startswith("the training losses part at step 3: 2.999 (a), 2.5 (b); at most")
    assert main(["runs", "diff", *runs[:2], "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["differences"][0] == {"name": "config.train.lr", "a": 1e-3, "b": 0.5}
    assert about["first_difference"] == {"column": "train_loss", "step": 3, "a": 2.999, "b": 2.5}
    assert about["losses_identical"] is False


def test_diff_of_equal_runs_also_by_their_cards(runs: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(["runs", "diff", str(card.write(runs[0])), runs[2]]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "nothing that is recorded differs", "identical: all 7 losses that both have"
    ]  # fmt: skip


def test_compare_shows_settings_and_results(runs: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(["runs", "compare", *runs]) == 0
    out, err = capsys.readouterr()
    rows = {line[:24].strip(): line[24:].split() for line in out.splitlines()}
    assert rows[""] == ["a", "b", "c"] or out.splitlines()[0].split() == ["a", "b", "c"]
    assert rows["config.train.lr"] == ["0.001", "0.5", "0.001"] and rows["machine.n_threads"] == ["2", "4", "2"]
    assert rows["best validation loss"] == ["1.9990", "1.5000", "1.9990"] and rows["steps"] == ["5", "5", "5"]
    assert rows["tokens per second"] == ["512", "512", "512"] and rows["tokens per parameter"] == ["25.6"] * 3
    assert "config.run_dir" not in out and "--out" in err


def test_compare_draws_and_answers_machines(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "new" / "curves.png"
    assert main(["runs", "compare", *runs, "--out", str(out), "--dry-run"]) == 0 and not out.parent.exists()
    capsys.readouterr()
    assert main(["runs", "compare", *runs, "--out", str(out), "--by", "tokens", "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["runs"] == ["a", "b", "c"] and about["settings"]["config.train.lr"] == [1e-3, 0.5, 1e-3]
    assert about["results"]["best bits per byte"] == [0.9 - 1e-3, 0.4, 0.9 - 1e-3]
    assert [Path(path).stat().st_size > 0 for path in about["pictures"]] == [True, True]
    assert out.with_suffix(".svg").exists()


@pytest.mark.parametrize(("verb", "n"), [("diff", 0), ("diff", 1), ("diff", 3), ("compare", 0), ("compare", 1)])
def test_too_few_or_too_many(runs: list[str], capsys: pytest.CaptureFixture, verb: str, n: int) -> None:
    assert main(["runs", verb, *runs[:n]]) == 2
    assert f"groundup runs {verb} A B" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["diff", "compare"])
def test_no_run_and_a_damaged_one(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture, verb: str) -> None:
    assert main(["runs", verb, runs[0], str(tmp_path / "absent")]) == 2
    assert "there is no run card" in capsys.readouterr().err
    Path(runs[1], "run.json").write_text("{")
    assert main(["runs", verb, *runs[:2]]) == 5
    assert "Traceback" not in capsys.readouterr().err


def test_names_tell_runs_apart() -> None:
    assert unlike(["runs/a/card.json", "runs/b"]) == ["a", "b"]
    assert unlike(["x/pretrain", "y/pretrain/"]) == ["x/pretrain", "y/pretrain"]
    assert unlike(["a", "a"]) == ["a", "a (2)"]
