"""Every recipe is understood, says what a recipe has to say, and runs: two steps of its own with a small shape."""

import contextlib
import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from groundup import config as configs
from groundup import models
from groundup.cli import main
from groundup.commands import pretrain
from groundup.train import reference

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
TEXT = "ROMEO:\nBut, soft! what light through yonder window breaks?\nIt is the east, and Juliet is the sun.\n\n" * 40
TINY = {"n_layers": 1, "d_model": 16, "n_heads": 2, "n_kv_heads": 1, "d_ff": 32, "ngram_rows": 50, "window": 8}
QUICK = (
    "--vocab-size", "280", "--context-length", "16", "--val-rows", "2", "--n-steps", "2", "--minutes", "0",
    "--batch-size", "4", "--device", "cpu", "--precision", "fp32", "--compile=false", "--quiet",
)  # fmt: skip

recipes = pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)


def read(file: Path, **flags: Any) -> pretrain.Config:
    return configs.load(pretrain.Config, file=file, flags=flags).config


def head(file: Path) -> str:
    """The comment before the first setting."""
    return file.read_text(encoding="utf-8").partition("\n\n")[0]


def test_there_are_recipes():
    assert {"tinyshakespeare-2min", "tinyshakespeare-5min", "gpt2-124m-1gpu"} <= {file.stem for file in RECIPES}


@recipes
def test_a_recipe_says_what_it_needs_and_what_comes_of_it(file: Path):
    text = head(file)
    for part in ("data", "hardware", "time", "expected"):
        assert re.search(rf"(?m)^# {part} +\S", text), part
    assert f"groundup pretrain --config recipes/{file.name}" in text
    is_measured, is_planned = re.search(r"20\d\d-\d\d-\d\d", text), "smoke-run only" in text.lower()
    assert bool(is_measured) != bool(is_planned), "a result with its date, or that there is none yet"


@recipes
def test_a_recipe_is_understood_and_its_model_can_be_built(file: Path):
    config = read(file)
    assert config.data and not Path(config.data).is_absolute()
    assert config.run_dir == ""
    if not config.init_from:
        wanted = pretrain.shape(config, config.vocab_size)
        assert models.family(config.model).count_parameters(wanted) > 1e6
    reference.read(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "vocab_size", "n_parameters"),
    [("chinese-215m", 6144, 215_127_040), ("tinystories-130m", 30000, 131.0e6), ("gpt2-124m-1gpu", 50257, 124_439_808)],
)
def test_the_large_ones_have_the_size_in_their_names(name: str, vocab_size: int, n_parameters: float):
    config = read(ROOT / "recipes" / f"{name}.toml")
    found = models.family(config.model).count_parameters(pretrain.shape(config, vocab_size))
    assert found == pytest.approx(n_parameters, rel=0 if isinstance(n_parameters, int) else 1e-3)


@recipes
def test_a_recipe_runs(file: Path, tmp_path: Path, monkeypatch):
    """With its own settings, but for a small shape, two steps and a text that is here."""
    monkeypatch.chdir(tmp_path)
    for name in ("train", "val"):
        (tmp_path / f"{name}.txt").write_text(TEXT, encoding="utf-8")
    config = read(file)
    if config.init_from:
        run_it("--run-dir", "runs/first", "--arch.n-layers", "1", "--arch.d-model", "16", "--arch.n-heads", "2", *QUICK)
        changes = ["--init-from", "runs/first"]
    else:
        fields = {field.name for field in dataclasses.fields(models.preset(config.model, config.size))}
        changes = [f"--arch.{name.replace('_', '-')}={n}" for name, n in TINY.items() if name in fields]
    if config.val_data:
        changes += ["--val-data", "val.txt"]
    if config.val_context_length:
        changes += ["--val-context-length", "64", "--arch.context-length", "64"]
    if config.train.micro_batch_size:
        changes += ["--micro-batch-size", "2"]
    outcome = run_it("--config", str(file), "--run-dir", "runs/it", *changes, *QUICK)
    assert outcome["n_steps"] == 2 and outcome["val_loss"] > 0


def run_it(*flags: str) -> dict[str, Any]:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main(["pretrain", "train.txt", *flags, "--json"]) == 0
    return json.loads(said.getvalue())
