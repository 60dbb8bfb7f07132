"""`groundup runs reproduce`: the run of a card once more in a new folder, its losses held to the card's.

On a CPU they are the same to the last bit, whatever the hour and wherever the folder; if not, the first step that
differs is named, with everything recorded that is not as it was.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from groundup import artifact
from groundup import config as configs
from groundup.errors import ArtefactError, UsageError

STAGES = ("pretrain", "sft")


@dataclass(frozen=True)
class ReproduceConfig:
    """What `groundup runs reproduce` can be told."""

    card: str = field(default="", metadata={"positional": True})
    """a card.json, or a run folder"""
    run_dir: str = ""
    """where to write; by default runs/reproduce-<n>"""
    data: str = ""
    """the data, where they lie elsewhere than the card says"""
    json: bool = False
    """one JSON object on stdout"""
    quiet: bool = False
    """no progress, no remarks"""
    dry_run: bool = False
    """say what would be run and what is not as it was, and stop"""


def reproduce(config: ReproduceConfig) -> int:
    """Do the run of a card again and hold its losses to the card's: exit 0 if every one is identical, else 1."""
    from groundup.insight import run_differences
    from groundup.train import card, run_folder

    if not config.card:
        raise UsageError("no card was named", hint="groundup runs reproduce CARD; groundup runs list shows the runs")
    theirs = card.read(config.card)
    stage, stage_config = again(theirs, config)
    run_dir = Path(config.run_dir) if config.run_dir else run_folder.next_run_dir("reproduce")
    stage_config = configs.replace(stage_config, "runs reproduce", run_dir=str(run_dir), quiet=config.quiet, json=False)
    if config.dry_run:
        plan = {"run_dir": str(run_dir), "would": f"run {theirs['verb']} again", "changed": dict(_changed(theirs))}
        print(orjson.dumps(plan).decode() if config.json else _before(theirs, run_dir))
        return 0
    if not config.quiet:
        print(_before(theirs, run_dir), file=sys.stderr)
    if theirs.get("budget") and not (run_dir / "budget.json").exists():
        artifact.write_json(_made(run_dir) / "budget.json", theirs["budget"])  # the clock must not decide again
    with _threads(theirs["machine"].get("n_threads")):
        stage.run(stage_config)

    ours = card.of(run_dir)
    losses = run_differences.compare_losses(theirs, ours)
    changed = [each for each in run_differences.differences(theirs, ours) if not each.name.startswith("config.")]
    first = losses.first and dict(zip(("column", "step", "card", "here"), losses.first, strict=True))
    if config.json:
        about = {
            "run_dir": str(run_dir),
            "identical": losses.are_identical,
            "n_compared": losses.n_compared,
            "n_only_in_one": losses.n_only_in_one,
            "first_difference": first,
            "largest_relative_difference": losses.largest,
            "changed": [each._asdict() for each in changed],
        }
        print(orjson.dumps(about).decode())
    else:
        from groundup.commands.runs.diff import table

        print(run_differences.sentence(losses, "card", "here"))
        if not losses.are_identical:
            print(table(changed, "card", "here") if changed else UNKNOWN)
    return 0 if losses.are_identical else 1


UNKNOWN = "nothing that a card records differs; on a GPU, kernels may add in another order from run to run"


def again(theirs: dict[str, Any], config: ReproduceConfig) -> tuple[Any, Any]:
    """(module of the stage, its Config as on the card). UsageError where this groundup cannot do that run."""
    if theirs.get("verb") not in STAGES:
        raise ArtefactError(
            f"the card is of a run of {theirs.get('verb')}, which cannot be done again",
            where=config.card,
            hint=f"cards of {', '.join(STAGES)} can",
        )
    stage = importlib.import_module(f"groundup.commands.{theirs['verb']}")
    settings = {**theirs["config"]}
    settings.pop("resume_from", None)  # a checkpoint of the folder that the run had
    if config.data:
        settings["data"] = [config.data] if isinstance(settings.get("data"), list) else config.data
    named = settings.get("data")
    for path in [named] if isinstance(named, str) else named or []:
        if path and not Path(path).exists():
            started = f", for it was started in {theirs['working_folder']}" if theirs.get("working_folder") else ""
            raise UsageError("the data of the card are not there", where=path, hint=f"name them with --data{started}")
    return stage, configs.from_dict(stage.Config, settings, config.card)


def _before(theirs: dict[str, Any], run_dir: Path) -> str:
    changed = [f"note: {name} was {was}, is {now}" for name, (was, now) in _changed(theirs)]
    return "\n".join([f"running {theirs['verb']} again in {run_dir}", *changed])


def _changed(theirs: dict[str, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """What can be seen before hours are spent: versions and source that are not the card's."""
    from groundup.train import card, run_folder

    now = {**run_folder.versions(), **card.code()}
    was = {**theirs["versions"], **(theirs.get("code") or {})}
    for name in was:
        if was[name] is not None and now.get(name, was[name]) != was[name]:
            yield name, (was[name], now[name])


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _threads(n_threads: int | None) -> Iterator[None]:
    """As many threads as the card's run had: how a sum is divided among threads decides its last bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n_threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
