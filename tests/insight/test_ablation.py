"""Ablations: combinations, resuming, mean and spread, and one that trains lab models."""

import json
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch

from groundup import models
from groundup.data.batches import Windows
from groundup.data.shards import Split
from groundup.errors import UsageError
from groundup.insight import ablation
from groundup.train import losses


def test_combinations():
    assert ablation.combinations(["norm=rms,layer", "position=rope,none"]) == [
        {"norm": "rms", "position": "rope"}, {"norm": "rms", "position": "none"},
        {"norm": "layer", "position": "rope"}, {"norm": "layer", "position": "none"},
    ]  # fmt: skip
    # As it arrives where a comma divides a list of words.
    assert ablation.combinations(["norm=rms", "layer"]) == ablation.combinations(["norm=rms,layer"])
    mixed = ablation.combinations(["d-model=32,64", "tie_embeddings=true,false", "norm_eps=1e-5,1e-6"])
    assert mixed[-1] == {"d_model": 64, "tie_embeddings": False, "norm_eps": 1e-6}


@pytest.mark.parametrize(
    "compare", [[], ["norm"], ["norm="], ["norm=rms"], ["norm=rms,rms"], ["=a,b"], ["a=1,2", "a=3,4"]]
)
def test_what_cannot_be_compared(compare):
    with pytest.raises(UsageError) as caught:
        ablation.combinations(compare)
    assert "norm=rms,layer" in caught.value.hint


def invented(fields: dict, seed: int, run_dir: Path) -> dict:
    run_dir.mkdir(parents=True, exist_ok=True)
    return {"val_loss": {"rms": 2.0, "layer": 3.0}[fields["norm"]] + seed / 10, "seconds": 1.0 + seed}


def test_mean_and_spread_of_every_combination(tmp_path: Path):
    told: list[str] = []
    results = ablation.compare(ablation.combinations(["norm=layer,rms"]), 3, tmp_path, invented, told.append)
    assert [result.name for result in results] == ["norm=layer", "norm=rms"]
    assert results[1].val_losses == [2.0, 2.1, 2.2] and results[1].mean == pytest.approx(2.1)
    assert results[1].deviation == pytest.approx(statistics.stdev([2.0, 2.1, 2.2]))
    assert told[0] == "run 1 of 6: norm=layer, seed 0" and told[1] == "run 2 of 6: norm=rms, seed 0"
    lines = (tmp_path / "ablation.txt").read_text().splitlines()
    assert lines[1].split() == ["norm=rms", "2.1000", "±0.1000", "+0.0000", "3", "2.0", "s"]
    assert lines[2].split()[:4] == ["norm=layer", "3.1000", "±0.1000", "+1.0000"]
    assert json.loads((tmp_path / "ablation.json").read_text())["results"][0]["val_losses"] == [3.0, 3.1, 3.2]
    assert sorted(path.name for path in tmp_path.glob("*/seed-*")) == ["seed-0"] * 2 + ["seed-1"] * 2 + ["seed-2"] * 2


def test_what_ended_is_not_made_again(tmp_path: Path):
    choices, made = ablation.combinations(["norm=rms,layer"]), []

    def run(fields, seed, run_dir):
        made.append((fields["norm"], seed))
        if len(made) == 3:
            raise KeyboardInterrupt
        return invented(fields, seed, run_dir)

    with pytest.raises(KeyboardInterrupt):
        ablation.compare(choices, 2, tmp_path, run)
    ablation.compare(choices, 2, tmp_path, run)
    assert made == [("rms", 0), ("layer", 0), ("rms", 1), ("rms", 1), ("layer", 1)]
    with pytest.raises(UsageError, match="2 combinations with 300 seeds are 600 runs"):
        ablation.compare(choices, 300, tmp_path, run)


def test_a_run_without_validation_cannot_be_compared(tmp_path: Path):
    with pytest.raises(UsageError, match="without a validation loss"):
        ablation.compare([{"norm": "rms"}], 1, tmp_path, lambda *_: {"seconds": 1.0})


def test_a_single_seed_has_no_spread(tmp_path: Path):
    ablation.compare(ablation.combinations(["norm=rms,layer"]), 1, tmp_path, invented)
    assert "±" not in (tmp_path / "ablation.txt").read_text()
    assert json.loads((tmp_path / "ablation.json").read_text())["results"][0]["deviation"] is None


def test_the_picture_is_the_same_each_time(tmp_path: Path):
    pytest.importorskip("matplotlib")
    results = ablation.compare(ablation.combinations(["norm=rms,layer"]), 3, tmp_path, invented)
    png, svg = ablation.draw(tmp_path, results)
    first = png.read_bytes(), svg.read_bytes()
    ablation.draw(tmp_path, list(reversed(results)))
    assert first == (png.read_bytes(), svg.read_bytes())
    assert first[0][:4] == b"\x89PNG" and b"<svg" in first[1][:2000]


def test_lab_models_compared_twice_give_the_same_losses(tmp_path: Path):
    """The real thing, small: every combination trains, in any order, and its losses depend on fields and seed alone."""
    rng = np.random.default_rng(0)
    documents = [np.cumsum(rng.integers(1, 3, 30)) % 29 + 1 for _ in range(60)]
    split = Split.of_documents([document.astype(np.uint16) for document in documents], eos_id=0)

    def train(fields, seed, run_dir):
        run_dir.mkdir(parents=True)
        shape = {"vocab_size": 32, "context_length": 16, "n_layers": 1, "d_model": 16, "n_heads": 2}
        model = models.build("lab", "nano", {**shape, **fields}, seed=seed)
        windows = Windows(split, 16, 2, seed)
        for step in range(3):
            total, n, _ = losses.next_token(model, windows.batch(step))
            (total / n).backward()
            with torch.no_grad():
                for weight in model.parameters():
                    weight -= 0.3 * weight.grad
                    weight.grad = None
        with torch.no_grad():
            total, n, _ = losses.next_token(model, windows.fixed(2)[0])
        return {"val_loss": total.item() / n, "seconds": 0.1}

    choices = ablation.combinations(["norm=rms,layer", "position=rope,learned"])
    first = ablation.compare(choices, 2, tmp_path / "a", train)
    second = ablation.compare(list(reversed(choices)), 2, tmp_path / "b", train)
    assert {r.name: r.val_losses for r in first} == {r.name: r.val_losses for r in second}
    assert len({loss for result in first for loss in result.val_losses}) == 8


def test_wrong_values_are_named_by_the_architecture():
    (_, wrong) = ablation.combinations(["norm=rms,lyer"])
    with pytest.raises(ValueError, match="norm is 'lyer'; valid values are rms, layer"):
        models.change(models.preset("lab", "nano"), wrong)
