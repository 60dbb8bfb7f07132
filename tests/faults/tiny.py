"""A run that can be saved and damaged in milliseconds: a tiny model, its optimizer, and one invented step."""

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from groundup import models
from groundup.optim import groups
from groundup.train.run_folder import RunFolder
from groundup.train.saving import Progress, Saver

SHAPE = {
    "vocab_size": 32, "context_length": 8, "n_layers": 1, "d_model": 8, "n_heads": 2, "n_kv_heads": 2, "d_ff": 16,
}  # fmt: skip


@functools.cache
def _model() -> nn.Module:
    return models.build("llama", "nano", SHAPE, seed=0)


def model() -> nn.Module:
    """The same fresh weights each time."""
    return copy.deepcopy(_model())


class Trial:
    """A run folder with a model in it that can make steps, save and resume; use it in a `with` block."""

    def __init__(self, path: Path, keep: int = 2, config_hash: str = "same", **settings: Any):
        self.told: list[str] = []
        self.run = RunFolder.open(path, verb="test", config_toml="", config_hash=config_hash, facts={}, resume=True)
        self.model = model()
        self.optimizers = groups.OPTIMIZERS["adamw"](self.model, groups.Rates())
        self.saver = Saver(self.run, self.model, self.optimizers, keep, notice=self.told.append, **settings)
        self.progress = Progress()

    def __enter__(self) -> "Trial":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            self.saver.__exit__(kind, error, trace)
        finally:
            self.run.__exit__(kind, error, trace)

    def step(self) -> None:
        """One update with gradients that depend on the step alone, and its row."""
        torch.manual_seed(self.progress.step)
        for weight in self.model.parameters():
            weight.grad = torch.randn_like(weight)
        for optimizer in self.optimizers:
            optimizer.step()
        self.progress.step += 1
        self.run.metric({"step": self.progress.step, "train_loss": 1 / self.progress.step, "seconds": 0.5})

    def save(self, steps: int = 1, extra: dict[str, torch.Tensor] | None = None) -> Path:
        """So many steps, and a checkpoint, on disk when this returns."""
        for _ in range(steps):
            self.step()
        step_dir = self.saver.save(self.progress, extra)
        self.saver.wait()
        return step_dir

    def resume(self, resume_from: Path | None = None) -> Progress:
        self.progress = self.saver.resume(resume_from)
        return self.progress


def saved(path: Path, steps: int = 3, keep: int = 9) -> list[Path]:
    """A run folder with checkpoints of steps 1, 2, ..., that nobody holds open."""
    with Trial(path, keep) as trial:
        return [trial.save() for _ in range(steps)]


def resumed_step(path: Path, look: Callable[[Trial], None] = lambda trial: None) -> int:
    """The step from which the run in `path` goes on."""
    with Trial(path, keep=9) as trial:
        step = trial.resume().step
        look(trial)
    return step
