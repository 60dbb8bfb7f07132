"""A process that trains in a folder and is killed or stopped again and again; run by test_kill.py, never imported.

    python killer.py FOLDER SEED N_SIGNALS KILL|TERM

It imports torch once and forks a child per attempt, which gets the signal after a random time; when a run has come to
its end, the next one begins in a new folder, until so many signals were sent. With saves at every step, many fall
inside a save. Prints JSON: what was counted, and how many runs ended with other bytes than the one never touched.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from groundup import artifact, models
from groundup.data.batches import Windows
from groundup.data.shards import Split
from groundup.errors import Stopped
from groundup.train import loop, losses, step_dirs, tables
from groundup.train.config import TrainConfig
from groundup.train.run_folder import RunFolder
from groundup.train.watch import Watch

torch.set_num_threads(1)
N_STEPS = 30
OF_THE_MACHINE = ("seconds", "tokens_per_second", "memory_mb", "mfu")
SHAPE = {
    "vocab_size": 32, "context_length": 16, "n_layers": 1, "d_model": 16, "n_heads": 2, "n_kv_heads": 2, "d_ff": 32,
}  # fmt: skip


def train(run_dir: Path) -> None:
    rng = np.random.default_rng(0)
    documents = [(np.cumsum(rng.integers(1, 3, 30)) % 29 + 1).astype(np.uint16) for _ in range(40)]
    split = Split.of_documents(documents, eos_id=0)
    config = TrainConfig(n_steps=N_STEPS, batch_size=8, precision="fp32", save_every=1, eval_every=3, keep=2)
    with RunFolder.open(run_dir, verb="test", config_toml="", config_hash="", facts={}, resume=True) as folder:
        loop.train(
            models.build("llama", "nano", SHAPE, seed=0), Windows(split, 16, 8, 0), losses.next_token, config,
            run=folder, watch=Watch(folder, N_STEPS, quiet=True),
            evaluate=lambda model, step: {"val_loss": float(-step % 7)},
        )  # fmt: skip


def attempt(run_dir: Path, seconds: float, number: int) -> tuple[int, float]:
    """Train in a child that gets a signal after `seconds`: (its exit status, how long it took to obey)."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            train(run_dir)
            status = 0
        except Stopped as stopped:
            status = stopped.exit_code
        except KeyboardInterrupt:
            status = 130
        finally:
            os._exit(status)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), 0.0
        time.sleep(0.001)
    os.kill(child, number)
    sent = time.monotonic()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), time.monotonic() - sent


def result(run_dir: Path) -> tuple[dict[str, str], list[dict], list[str]]:
    """What must not differ: the bytes of the last checkpoint, the rows, and where `latest` and `best` point."""
    last = step_dirs.path_of(run_dir, N_STEPS)
    artifact.verify(last, checksums=True)
    files = sorted(file for file in last.rglob("*") if file.is_file())
    bytes_of = {str(file.relative_to(last)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    kept = [
        {name: value for name, value in row.items() if name not in OF_THE_MACHINE}
        for row in tables.read(run_dir / "metrics.jsonl")
    ]
    assert (run_dir / "metrics.csv").read_bytes().count(b"\n") == len(kept) + 1
    assert not list(run_dir.rglob(".tmp-*")), "not swept"
    return bytes_of, kept, [(run_dir / name).read_text() for name in ("latest", "best")]


if __name__ == "__main__":
    folder, seed, n_signals = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    number = getattr(signal, f"SIG{sys.argv[4]}")
    dice = random.Random(seed)
    began = time.monotonic()
    assert attempt(folder / "whole", 120.0, signal.SIGKILL)[0] == 0
    whole_seconds = time.monotonic() - began
    expected = result(folder / "whole")
    counts = {"signals": 0, "inside_a_save": 0, "early": 0, "runs": 0, "differing": 0, "most_seconds": 0.0}
    while counts["signals"] < n_signals or not counts["runs"]:
        run_dir = folder / f"run-{counts['runs']}"
        while True:
            is_last = counts["signals"] >= n_signals
            status, waited = attempt(run_dir, 120.0 if is_last else dice.uniform(0.02, 0.3) * whole_seconds, number)
            if status == 0:
                break
            # A signal that comes before the loop has begun to listen ends the process, as it does any other.
            early = number != signal.SIGKILL and status == -number
            assert status == (-number if number == signal.SIGKILL or early else 75), f"the child left with {status}"
            counts["signals"] += 1
            counts["early"] += early
            counts["inside_a_save"] += bool(list(run_dir.glob("checkpoints/.tmp-*")))
            counts["most_seconds"] = max(counts["most_seconds"], round(waited, 2))
            if (run_dir / "latest").exists():
                artifact.verify(run_dir / (run_dir / "latest").read_text().strip(), checksums=True)
        counts["differing"] += result(run_dir) != expected
        counts["runs"] += 1
        shutil.rmtree(run_dir)
    print(json.dumps(counts))
