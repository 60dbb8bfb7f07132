"""`groundup runs reproduce`: the same losses to the last bit, or the first step that differs and why."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from groundup import artifact
from groundup.cli import main
from groundup.text import stories
from groundup.train import card, plots

TINY = [
    *("--arch.n-layers", "1", "--arch.d-model", "32", "--arch.n-heads", "2", "--arch.n-kv-heads", "2"),
    *("--arch.d-ff", "64", "--vocab-size", "300", "--context-length", "32", "--batch-size", "8", "--precision", "fp32"),
]


@pytest.fixture(scope="module", autouse=True)
def _no_pictures() -> Iterator[None]:
    """They take longer than the training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "draw", lambda run_dir: [])
        yield


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of twelve steps on raw text."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "text.txt").write_text("\n\n".join(stories.story(0, index) for index in range(40)))
    code = main(
        ["pretrain", str(folder / "text.txt"), *TINY, "--n-steps", "12", "--run-dir", str(folder / "run"), "--quiet"]
    )
    assert code == 0
    return folder / "run"


@pytest.fixture
def copy(first: Path, tmp_path: Path) -> Any:
    """copy(**changes) -> a card.json of the run, with other values at dotted places."""

    def make(**changes: Any) -> str:
        found = artifact.read_json(card.write(first))
        for dotted, value in changes.items():
            *above, last = dotted.split("__")
            at = found
            for name in above:
                at = at[name]
            at[last] = value
        artifact.write_json(tmp_path / "card.json", found)
        return str(tmp_path / "card.json")

    return make


def reproduce(capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, str, str]:
    code = main(["runs", "reproduce", *arguments])
    return code, *capsys.readouterr()


def test_the_same_losses_to_the_last_bit(first: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    again = tmp_path / "again"
    code, out, err = reproduce(capsys, str(first), "--run-dir", str(again), "--json", "--quiet")
    assert code == 0, err
    found = json.loads(out)
    assert found["identical"] is True and found["changed"] == [] and found["n_compared"] > 12 and err == ""
    ours, theirs = card.of(again), card.of(first)
    assert len(card.losses(ours, "train_loss")) == 12 and ours["curves"] == theirs["curves"]
    assert ours["data"]["hash"] == theirs["data"]["hash"] and ours["tokenizer"] == theirs["tokenizer"]


def test_the_first_step_that_differs_and_what_changed(copy: Any, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A card of another time: trained with another torch on other data, and another loss from step 4 on."""
    made = copy()
    values = artifact.read_json(made)["curves"]["train_loss"]["values"]
    made = copy(
        curves__train_loss__values=[*values[:3], *(value * 1.01 for value in values[3:])],
        versions__torch="2.1.0", data__hash="d" * 32,
    )  # fmt: skip
    code, out, err = reproduce(capsys, made, "--run-dir", str(tmp_path / "again"))
    assert code == 1
    assert "the training losses part at step 4" in out and "versions.torch" in out and "2.1.0" in out
    assert "data.hash" in out and "note: torch was 2.1.0, is " in err
    assert "apart" in out


def test_a_dry_run_makes_nothing(copy: Any, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    made = copy(versions__torch="2.1.0")
    code, out, _ = reproduce(capsys, made, "--run-dir", str(tmp_path / "again"), "--dry-run", "--json")
    assert code == 0 and json.loads(out)["changed"]["torch"][0] == "2.1.0"
    assert not (tmp_path / "again").exists()


def test_what_a_clock_decided_is_not_decided_again(
    first: Path, copy: Any, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A run of minutes: the number of steps is the card's, whatever this machine would make of the minutes."""
    turns = [{"step": step, "place": float(step), "n_steps": 12} for step in range(12)]
    budget = {"n_steps": 12, "seconds_per_evaluation": 0.1, "turns": turns}
    known = artifact.read_json(card.write(first))["config"]["train"]
    made = copy(budget=budget, config__train={**known, "minutes": 0.5})
    again = tmp_path / "again"
    code, out, err = reproduce(capsys, made, "--run-dir", str(again), "--quiet")
    assert code == 0 and out.startswith("identical"), out + err
    assert artifact.read_json(again / "budget.json") == budget


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"verb": "demo"}, 5, "cannot be done again"),
        ({"config__data": "/nowhere/text.txt"}, 2, "name them with --data"),
        ({"config__train": {"learning_rate": 1}}, 2, "no setting is called"),
        ({"curves": {}}, 5, "damaged"),
        ({"format": "x"}, 5, "no run card"),
    ],
)
def test_cards_that_cannot_be_run(
    copy: Any, tmp_path: Path, capsys: pytest.CaptureFixture, changes: dict[str, Any], code: int, said: str
) -> None:
    found, _, err = reproduce(capsys, copy(**changes), "--run-dir", str(tmp_path / "again"))
    assert (found, said in err, "Traceback" in err) == (code, True, False), err
    assert not (tmp_path / "again").exists()


def test_no_card(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for arguments in ([], [str(tmp_path / "absent.json")], [str(tmp_path)]):
        assert reproduce(capsys, *arguments)[0] == 2
