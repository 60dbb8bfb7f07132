"""`groundup plot lr`: the rates that the loop would take, and those that it took."""

import json
from pathlib import Path

import pytest
import torch

from groundup.cli import main
from groundup.optim import groups
from groundup.optim.schedules import SCHEDULES
from groundup.train.run_folder import RunFolder

TOML = """
data = "stories"
[train]
n_steps = 100
warmup_steps = 10
lr = 0.5
schedule = "{schedule}"
min_lr_fraction = 0.1
"""


@pytest.fixture
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "small.toml"
    file.write_text(TOML.format(schedule="cosine"))
    return file


def points(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    assert main(["plot", "lr", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_two_pictures_of_a_run_to_come(toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert main(["plot", "lr", str(toml)]) == 0
    assert capsys.readouterr().out == "lr.png\nlr.svg\n"
    assert Path("lr.png").read_bytes().startswith(b"\x89PNG") and "<svg" in Path("lr.svg").read_text()
    first = Path("lr.png").read_bytes()
    assert points(capsys, str(toml), "--out", "elsewhere/rates.png")["files"] == [
        str(Path("elsewhere", "rates.png")), str(Path("elsewhere", "rates.svg")),
    ]  # fmt: skip
    assert Path("elsewhere/rates.png").read_bytes() == first


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_points_are_the_schedule(toml: Path, capsys: pytest.CaptureFixture[str], schedule: str) -> None:
    toml.write_text(TOML.format(schedule=schedule))
    found = points(capsys, str(toml), "--dry-run")
    assert found["steps"] == list(range(1, 101)) and not Path("lr.png").exists()
    asked = {"lr": 0.5, "min_lr": 0.05, "warmup_steps": 10, "n_steps": 101}
    assert found["lr"] == pytest.approx([SCHEDULES[schedule](step, **asked) for step in range(1, 101)])


def test_a_long_run_has_few_points_and_its_last_one(toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = points(capsys, str(toml), "--n-steps", "2000000", "--dry-run")
    assert len(found["steps"]) == 20_000 and found["steps"][0] == 1 and found["steps"][-1] == 2_000_000


def test_minutes_are_drawn_as_steps_and_say_so(toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    toml.write_text("[train]\nminutes = 2.0\n")
    assert len(points(capsys, str(toml), "--dry-run")["steps"]) == 1000
    assert main(["plot", "lr", str(toml)]) == 0


def test_a_run_folder_shows_what_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = tmp_path / "run"
    toml = "[train]\nn_steps = 5\n"
    with RunFolder.open(run_dir, verb="pretrain", config_toml=toml, config_hash="a", facts={}, resume=True) as run:
        assert points(capsys, str(run_dir), "--dry-run")["steps"] == [1, 2, 3, 4, 5]  # nothing yet: as planned
        for step in (1, 2, 3):
            run.metric({"step": step, "train_loss": 1.0, "lr": step / 10})
    found = points(capsys, str(run_dir), "--dry-run")
    assert found["steps"] == [1, 2, 3] and found["lr"] == [0.1, 0.2, 0.3]
    assert found["files"] == [str(run_dir / "plots" / "lr.png"), str(run_dir / "plots" / "lr.svg")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[train]\nschedul = 1\n", "did you mean"),
        ("[train]\nn_steps = -1\n", "negative"),
        ("lr = 0.1\n", "outside its table"),
        ("train = 3\n", "is a table"),
        ("= =", "no TOML file"),
    ],
)
def test_what_is_wrong_is_said(toml: Path, capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    toml.write_text(text)
    assert main(["plot", "lr", str(toml)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["absent.toml"], ["."], ["small.toml", "--n-steps", "-1"]])
def test_what_is_missing_is_said(toml: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(["plot", "lr", *arguments]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_what_is_drawn_is_what_the_optimizers_get() -> None:
    """The fraction goes to each group's `full_lr`, so the matrices' rate keeps its ratio to the others'."""
    model = torch.nn.Linear(2, 2)
    (muon, adamw) = groups.muon(model, groups.Rates(lr=0.5, matrix_lr=2.0))
    assert muon.param_groups[0]["full_lr"] / adamw.param_groups[0]["full_lr"] == 4.0
