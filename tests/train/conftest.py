"""A tiny model on invented ids, and a function that trains it in a folder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from groundup import models
from groundup.data.batches import Windows
from groundup.data.shards import Split
from groundup.train import loop, losses
from groundup.train.config import TrainConfig
from groundup.train.run_folder import RunFolder
from groundup.train.watch import Watch


@pytest.fixture
def split() -> Split:
    """Forty documents of thirty ids with a pattern to learn: each id is one or two more than the last, modulo 29."""
    rng = np.random.default_rng(0)
    documents = [np.cumsum(rng.integers(1, 3, 30)) % 29 + 1 for _ in range(40)]
    return Split.of_documents([d.astype(np.uint16) for d in documents], eos_id=0)


def build(seed: int = 0, **fields: Any) -> torch.nn.Module:
    shape = {
        "vocab_size": 32,
        "context_length": 16,
        "n_layers": 2,
        "d_model": 16,
        "n_heads": 2,
        "n_kv_heads": 2,
        "d_ff": 32,
    }
    return models.build("llama", "nano", {**shape, **fields}, seed=seed)


class Trial:
    """What one call of the loop left behind."""

    def __init__(self, outcome: loop.Outcome, model: torch.nn.Module, rows: list[dict[str, Any]]):
        self.outcome = outcome
        self.model = model
        self.rows = rows
        self.losses = [row["train_loss"] for row in rows if "train_loss" in row]


@pytest.fixture
def train(split: Split, tmp_path: Path):
    """train(name, evaluate=..., batches=..., loss=..., **TrainConfig fields) -> Trial, in tmp_path/name."""

    def run(
        name: str, *, evaluate: Any = None, batches: Any = None, model: Any = None, loss: Any = losses.next_token,
        **settings: Any,
    ) -> Trial:  # fmt: skip
        config = TrainConfig(**{"n_steps": 12, "batch_size": 8, "precision": "fp32", "warmup_steps": 3, **settings})
        model = build() if model is None else model
        batches = batches or Windows(split, 16, config.batch_size, config.seed)
        with RunFolder.open(
            tmp_path / name, verb="test", config_toml="", config_hash="same", facts={}, resume=True
        ) as folder:
            watch = Watch(folder, config.n_steps, quiet=True)
            outcome = loop.train(model, batches, loss, config, run=folder, watch=watch, evaluate=evaluate)
            return Trial(outcome, model, folder.metrics())

    return run
