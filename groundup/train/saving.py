"""Checkpoints of a running training: written whole, found again; the newest that is undamaged is gone on from."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from groundup import artifact
from groundup.errors import ArtefactError
from groundup.optim import state
from groundup.tokenizer.protocol import Tokenizer
from groundup.train.run_folder import RunFolder
from groundup.weights import checkpoint


@dataclass
class Progress:
    """What besides weights and optimizer must survive a crash. `seconds` is for people and is not saved."""

    step: int = 0
    n_steps: int = 0
    n_tokens: int = 0
    best_step: int = -1
    best_val_loss: float = math.inf
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def step_dirs(run_dir: Path) -> list[Path]:
    """The run's checkpoints, oldest first."""
    return sorted((run_dir / "checkpoints").glob("step-*"))


def save(
    run: RunFolder,
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    progress: Progress,
    *,
    keep: int,
    tokenizer: Tokenizer | None = None,
    facts: dict[str, Any] | None = None,
) -> Path:
    """Write a checkpoint, then say that it is the latest (and the best), and only then remove old ones."""
    step_dir = run.path / "checkpoints" / f"step-{progress.step:08d}"
    if not step_dir.exists():
        run.sync()  # no power cut may lose rows of the metrics that the checkpoint counts as written
        saved = {name: value for name, value in asdict(progress).items() if name != "seconds"}
        saved["best_val_loss"] = progress.best_val_loss if math.isfinite(progress.best_val_loss) else None
        tensors = state.to_tensors(optimizers, model)
        checkpoint.save(step_dir, model, tokenizer, training=tensors, state=saved, facts=facts)
    artifact.write_file(run.path / "latest", f"checkpoints/{step_dir.name}\n")
    best = run.path / "best"
    if progress.best_step == progress.step or not best.exists():
        artifact.write_file(best, f"checkpoints/{step_dir.name}\n")
    best_name = Path(best.read_text(encoding="utf-8").strip()).name
    for old in step_dirs(run.path)[:-keep]:
        if old.name != best_name:
            artifact.remove(old)
    return step_dir


def resume(run: RunFolder, model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> Progress:
    """Take weights, optimizer and position from the newest checkpoint that is whole, or begin at step 0.

    A damaged checkpoint is noted in `events.jsonl` and passed over.
    """
    for step_dir in reversed(step_dirs(run.path)):
        try:
            artifact.verify(step_dir, checksums=True)
        except ArtefactError as damage:
            run.event("damaged_checkpoint", path=step_dir.name, reason=str(damage))
            continue
        checkpoint.load_weights(step_dir, model)
        tensors, saved = checkpoint.load_training(step_dir)
        state.from_tensors(tensors, optimizers, model)
        run.forget_after(saved["step"])
        if saved["best_val_loss"] is None:
            saved["best_val_loss"] = math.inf
        seconds = next((row["seconds"] for row in reversed(run.metrics()) if "seconds" in row), 0.0)
        return Progress(**saved, seconds=seconds)
    run.forget_after(-1)
    return Progress()


def last_metrics(run_dir: Path) -> dict[str, float]:
    """The metrics of the last evaluation that a run's newest checkpoint remembers; empty when there is none."""
    newest = next(iter(reversed(step_dirs(run_dir))), None)
    return {} if newest is None else checkpoint.load_training(newest)[1]["metrics"]
