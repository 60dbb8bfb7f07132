"""The costs of a run: memory of the process that trains, seconds of each phase, bytes on disk.

Everything about a step is from its rehearsal (see rehearsal.py), what this machine takes for it from its calibration,
or, where a few steps were made on trial, from those.
"""

import contextlib
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from groundup.insight.calibration import Machine
from groundup.insight.rehearsal import Rehearsal
from groundup.insight.trial import Result
from groundup.train.config import TrainConfig

N_EVALUATIONS = 10
METRIC_BYTES = 420
"""Of a step in metrics.jsonl and metrics.csv."""
PAPERS_BYTES = 300_000
"""Report, plots, events, samples and the like."""
CHECKPOINT_PAPERS_BYTES = 12_000
SAMPLE_IDS = 80
"""What is written after a prompt, at each evaluation."""
PAGES = 2**16
"""Bytes of a mapped file that come into memory when one of them is read."""
KERNELS_KEPT = 1024
"""Compiled products that oneDNN remembers at most."""


@dataclass(frozen=True)
class Memory:
    """Bytes of the process that trains, at its peak, by what they are for."""

    terms: dict[str, float]
    is_measured: bool
    """Were steps made on trial, and their peak read?"""

    @property
    def total(self) -> float:
        return sum(self.terms.values())


@dataclass(frozen=True)
class Seconds:
    """Of every phase; those of `step` and `evaluation` are of one."""

    phases: dict[str, float]
    step: float
    evaluation: float
    n_steps: int
    is_measured: bool

    @property
    def total(self) -> float:
        return sum(self.phases.values())


@dataclass(frozen=True)
class Disk:
    """Bytes by phase when the run is over, and the most there ever are, while a checkpoint is being written."""

    phases: dict[str, float]
    checkpoint: float
    peak: float

    @property
    def total(self) -> float:
        return sum(self.phases.values())


@dataclass(frozen=True)
class Run:
    """What the costs are counted of."""

    shape: Any
    train: TrainConfig
    context_length: int
    val_rows: int
    has_prompt: bool
    is_packed: bool = False
    device: str = "cpu"
    precision: str = "fp32"

    @property
    def rows(self) -> int:
        return self.train.rows_per_micro_batch

    @property
    def n_micro_batches(self) -> int:
        return self.train.rows_per_device // self.rows

    @property
    def tokens_per_step(self) -> int:
        return self.train.batch_size * self.context_length


def memory(run: Run, played: Rehearsal, machine: Machine, tried: Result | None, mapped: float, save: float) -> Memory:
    """`mapped` are the bytes of token data that are read; `save` the seconds of writing a checkpoint."""
    n_weights = n_parameters(run.shape)
    mean, optimizer = mean_bytes(run), state_bytes(run, played) - mean_bytes(run)
    copy = 4 * n_weights + optimizer + mean
    terms = {
        "Python, PyTorch and groundup": machine.base_bytes or 330e6,
        "weights in fp32": 4.0 * n_weights,
        "their running mean": mean,
        f"their copy in {run.precision}": played.start.end - 4 * n_weights - mean,
        "optimizer's state": optimizer,
        "gradients": 4.0 * n_weights,
        "activations, at the peak": max(0.0, played.peak - played.start.end - optimizer - 4 * n_weights),
        "held by malloc beyond that": played.resident - played.peak,
        "compiled 16-bit products": machine.kernel_bytes * n_kernels(run, played),
    }
    if run.device != "cpu":
        terms["Python, PyTorch and groundup"] = 600e6  # the context of CUDA and its libraries
        terms["held by malloc beyond that"] = 0.05 * played.peak
        terms["compiled 16-bit products"] = 0.0
    if tried is not None and run.device == "cpu":
        # What was measured is certain in sum. Its parts are those of the rehearsal, and what is left is malloc's.
        terms["Python, PyTorch and groundup"] = tried.base_bytes
        terms["held by malloc beyond that"] += tried.peak_bytes - sum(terms.values())
    if run.device == "cpu":
        terms["token data, mapped"] = mapped
        if save > 0.3 * step_seconds(run, played, machine, tried):
            terms["copy of a checkpoint being written"] = copy
    return Memory({name: n for name, n in terms.items() if abs(n) >= 1}, tried is not None)


def n_kernels(run: Run, played: Rehearsal) -> float:
    """Shapes of 16-bit products; experts get another number of rows at each step, and so another shape."""
    works = (played.gradients, played.update)
    shapes = {product for work in works for product in work.products if product[0] != "fp32"}
    return KERNELS_KEPT if hasattr(run.shape, "n_experts") and shapes else min(KERNELS_KEPT, len(shapes))


def n_parameters(shape: Any) -> int:
    from groundup import models

    return models.family(models.name_of(shape)).count_parameters(shape)


def mean_bytes(run: Run) -> float:
    """Of the running mean of the weights, where there is one: made with them, before the first step."""
    return 4.0 * n_parameters(run.shape) if run.train.ema_decay else 0.0


def state_bytes(run: Run, played: Rehearsal) -> float:
    """What a checkpoint holds beside the weights: the optimizer's state, made in the first step, and the mean."""
    return played.update.end - played.start.end + mean_bytes(run)


def step_seconds(run: Run, played: Rehearsal, machine: Machine, tried: Result | None) -> float:
    """Of one step: from a trial, else from the calibration."""
    share = run.n_micro_batches / played.n_micro_batches
    if tried is not None:
        return tried.gradients * share + tried.update
    works = ((played.gradients, share), (played.update, 1.0))
    return sum(
        n * machine.seconds(run.precision, work.flops, work.moved, work.n_operations, run.device) for work, n in works
    )


def evaluation_seconds(run: Run, played: Rehearsal, machine: Machine, tried: Result | None, n_rows: float) -> float:
    """Of a pass over the validation rows, and of what is written after the prompt, one id at a time."""
    work, played_rows = played.evaluation, min(run.train.batch_size, 32)
    one = machine.seconds("fp32", work.flops, work.moved, work.n_operations, run.device)
    if tried is not None and tried.evaluation:
        one = tried.evaluation
    seconds = one * n_rows / played_rows
    if run.has_prompt:
        moved = 4 * n_parameters(run.shape)
        seconds += SAMPLE_IDS * machine.seconds("fp32", 0, moved, 3 * work.n_operations, run.device)
    return seconds


def limit_bytes(device: str = "cpu") -> float:
    """Memory that this process may have, with what it has: free on the machine, and within its limits.

    Of a GPU all that it has; infinite where none is here.
    """
    if device != "cpu":
        import torch

        is_here = device == "cuda" and torch.cuda.is_available()
        return float(torch.cuda.get_device_properties(0).total_memory) if is_here else math.inf
    own = psutil.Process().memory_info().rss
    limits = [psutil.virtual_memory().available + own]
    with contextlib.suppress(ImportError):  # on Windows
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    for file in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            limits.append(int(file.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue  # no such limit, or "max"
    return float(min(limits))


def free_bytes(folder: Path) -> float:
    """Of the disk that a folder is on, which need not be there yet."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return float(shutil.disk_usage(folder).free)


def disk(run: Run, played: Rehearsal, n_steps: int, made: dict[str, float], n_saves: int) -> Disk:
    """`made` are bytes that are written once: tokenizer and shards, where they are not there yet."""
    one = 4 * n_parameters(run.shape) + state_bytes(run, played) + CHECKPOINT_PAPERS_BYTES + made.get("tokenizer", 0.0)
    kept = min(n_saves, run.train.keep)
    most = min(n_saves, run.train.keep + 1) + (1 if n_saves > run.train.keep else 0)
    papers = METRIC_BYTES * n_steps + PAPERS_BYTES
    phases = {**made, "metrics, plots, report": papers, f"checkpoints, {kept} kept": kept * one}
    return Disk(phases, one, sum(made.values()) + papers + most * one)
