"""A process that trains in a folder and is killed again and again; run by test_kill.py, never imported.

It imports torch once and forks a child per attempt. With saves at every step, most kills fall inside a save.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from groundup import models
from groundup.data.batches import Windows
from groundup.data.shards import Split
from groundup.train import loop, losses
from groundup.train.config import TrainConfig
from groundup.train.run_folder import RunFolder
from groundup.train.watch import Watch

torch.set_num_threads(1)
N_STEPS = 30


def train(run_dir: Path) -> None:
    rng = np.random.default_rng(0)
    documents = [(np.cumsum(rng.integers(1, 3, 30)) % 29 + 1).astype(np.uint16) for _ in range(40)]
    split = Split.of_documents(documents, eos_id=0)
    shape = {
        "vocab_size": 32,
        "context_length": 16,
        "n_layers": 1,
        "d_model": 16,
        "n_heads": 2,
        "n_kv_heads": 2,
        "d_ff": 32,
    }
    config = TrainConfig(n_steps=N_STEPS, batch_size=8, precision="fp32", save_every=1, keep=2)
    with RunFolder.open(run_dir, verb="test", config_toml="", config_hash="", facts={}, resume=True) as folder:
        loop.train(
            models.build("llama", "nano", shape, seed=0), Windows(split, 16, 8, 0), losses.next_token, config,
            run=folder, watch=Watch(folder, N_STEPS, quiet=True),
            evaluate=lambda model, step: {"val_loss": float(step)},
        )  # fmt: skip


def attempt(run_dir: Path, seconds: float) -> bool:
    """Train in a child that gets SIGKILL after `seconds`; did it finish before?"""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            train(run_dir)
            status = 0
        finally:
            os._exit(status)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status:
                sys.exit("training failed by itself")
            return True
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


if __name__ == "__main__":
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    dice = random.Random(seed)
    began = time.monotonic()
    assert attempt(folder / "whole", 60.0)
    whole_seconds = time.monotonic() - began
    n_kills = 0
    while not attempt(folder / "killed", dice.uniform(0.1, 0.4) * whole_seconds if n_kills < 20 else 60.0):
        n_kills += 1
    print(n_kills)
