"""A training for tests with several processes: `python -m tests.train.ranks FOLDER '{"n_steps": 12}'` on each rank.

Settings beside TrainConfig's: `trouble` ("hang", "die", "bad row", "stop") comes over rank `who` once, at step `at`.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from groundup import cli, models
from groundup.data.batches import Batch, Windows
from groundup.data.shards import Split
from groundup.errors import DataError, GroundupError
from groundup.evaluate.loss import held_out_loss
from groundup.train import distributed, loop, losses
from groundup.train.config import TrainConfig
from groundup.train.watch import Watch

SHAPE = {
    "vocab_size": 33, "context_length": 16, "n_layers": 2, "d_model": 16, "n_heads": 2, "n_kv_heads": 2, "d_ff": 32,
}  # fmt: skip
SETTINGS = {
    "n_steps": 12, "batch_size": 8, "precision": "fp32", "warmup_steps": 3, "device": "cpu", "save_every": 4,
    "eval_every": 6, "keep": 9, "hang_timeout": 5.0, "optimizer": "adamw",
}  # fmt: skip


def build() -> torch.nn.Module:
    return models.build("llama", "nano", SHAPE, seed=0)


class Rows(Windows):
    """Rows that trouble comes over."""

    def __init__(self, folder: Path, rank: int, batch_size: int, trouble: str = "", who: int = 1, at: int = 5):
        rng = np.random.default_rng(0)
        documents = [(np.cumsum(rng.integers(1, 3, 30)) % 29 + 1).astype(np.uint16) for _ in range(40)]
        super().__init__(Split.of_documents(documents, eos_id=0), 16, batch_size, seed=0)
        self.happened = folder / "happened"
        self.trouble = trouble if rank == who else ""
        self.at = at

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        if self.trouble and step == self.at and not self.happened.exists():
            self.happened.touch()
            if self.trouble == "bad row":
                raise DataError("row 7 is bad", where="rows.jsonl", hint="mend it")
            if self.trouble == "hang":
                time.sleep(1000)
            os.kill(os.getpid(), signal.SIGKILL if self.trouble == "die" else signal.SIGTERM)
        return super().batch(step, rows)


def train(world: distributed.World, folder: Path, **settings: Any) -> loop.Outcome:
    """Train, or go on, in that folder."""
    trouble = {name: settings.pop(name) for name in ("trouble", "who", "at") if name in settings}
    config = TrainConfig(**{**SETTINGS, **settings, "devices": world.world_size})
    facts = {"verb": "test", "config_toml": "", "config_hash": "same", "facts": {}, "resume": True}
    with world.open_run(folder, **facts) as run:
        rows = Rows(folder, world.rank, config.batch_size, **trouble)
        return loop.train(
            build(),
            rows,
            losses.next_token,
            config,
            run=run,
            watch=Watch(run, config.n_steps, quiet=True),
            evaluate=lambda model, step: {"val_loss": held_out_loss(model, rows.fixed(8))["loss"]},
        )


def main(folder: Path, settings: dict[str, Any]) -> None:
    n_ranks, parallel = int(os.environ["WORLD_SIZE"]), settings.get("parallel", "ddp")
    hang_timeout = settings.get("hang_timeout", SETTINGS["hang_timeout"])
    config = TrainConfig(device="cpu", devices=n_ranks, parallel=parallel, hang_timeout=hang_timeout)
    with distributed.joined(config) as world:
        train(world, folder, **settings)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), json.loads(sys.argv[2]))
    except GroundupError as error:
        sys.exit(cli._tell(error))
