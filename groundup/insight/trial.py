"""A few real steps of a configuration, made in a process of their own with random ids: what they took and held.

The surest way to know how long a step takes is to make it. The model, the optimizer and the step are those of a run
(train/step.py); only the text is missing, and its contents do not change the time. A process of its own, because the
most memory that a process ever held can be asked of a fresh one only.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundup.errors import EnvironmentFault
from groundup.train.config import TrainConfig

if TYPE_CHECKING:
    from groundup.data.batches import Batch


SECONDS, MOST_STEPS = 3.0, 40
"""Steps are made for so long, at least as many as are asked for and at most so many."""


@dataclass(frozen=True)
class Spec:
    """What to try: a model, and micro-batches of `rows` sequences."""

    family: str
    size: str
    rows: int
    context_length: int
    fields: dict[str, Any] = field(default_factory=dict)
    precision: str = "auto"
    settings: dict[str, Any] = field(default_factory=dict)
    """Further fields of TrainConfig."""
    n_micro_batches: int = 1
    n_steps: int = 3
    """at least"""
    evaluation_rows: int = 0
    seconds: float = SECONDS

    @cached_property
    def shape(self) -> Any:
        from groundup import models

        return models.change(models.preset(self.family, self.size), self.fields)

    @cached_property
    def train(self) -> TrainConfig:
        settings: dict[str, Any] = {"precision": self.precision, **self.settings}
        known = {"minutes", "devices", "gradient_accumulation_steps", "log", "compile"}
        settings = {name: value for name, value in settings.items() if name not in known}
        settings |= {"batch_size": self.rows * self.n_micro_batches, "micro_batch_size": self.rows}
        return TrainConfig(**settings)


@dataclass(frozen=True)
class Result:
    """Seconds of a usual step in its parts, and bytes."""

    gradients: float
    """All micro-batches, and clipping."""
    update: float
    evaluation: float
    """A forward pass of `evaluation_rows` sequences."""
    base_bytes: float
    """The process before there was a model."""
    peak_bytes: float


def in_child(specs: list[Spec], timeout: float) -> list[Result]:
    """Try them one after the other in one fresh process. EnvironmentFault if it fails or takes too long."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder, "asked.json"), Path(folder, "answer.json")
        asked.write_text(json.dumps([asdict(spec) for spec in specs]), encoding="utf-8")
        command = [sys.executable, "-m", "groundup.insight.trial", str(asked), str(answer)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise EnvironmentFault(f"a trial took more than {timeout:.0f} seconds") from error
        if done.returncode or not answer.is_file():
            last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
            raise EnvironmentFault(f"a trial of the configuration failed: {last}")
        return [Result(**result) for result in json.loads(answer.read_text(encoding="utf-8"))]


def make(spec: Spec) -> Result:
    """Here and now."""
    import torch

    from groundup import models
    from groundup.train import distributed, losses
    from groundup.train.devices import device_for
    from groundup.train.step import Stepper

    import_what_a_run_does()
    base = resident_bytes()
    device = device_for(spec.train.device)
    model = models.fresh(spec.shape, seed=0, kernels=spec.train.kernels).to(device)
    batches = RandomIds(spec.rows * spec.n_micro_batches, spec.context_length, spec.shape.vocab_size)
    stepper = Stepper(model, batches, losses.next_token, spec.train, distributed.World(device))
    gradients, updates = [], []
    started = time.perf_counter()
    for step in range(MOST_STEPS):
        began = time.perf_counter()
        if step >= spec.n_steps and began - started > spec.seconds:
            break
        stepper.gradients(step)
        between = time.perf_counter()
        stepper.update(float(step), 100)
        gradients.append(between - began)
        updates.append(time.perf_counter() - between)
    evaluation = 0.0
    if spec.evaluation_rows:
        batch = RandomIds(spec.evaluation_rows, spec.context_length, spec.shape.vocab_size).batch(0)
        began = time.perf_counter()
        with torch.no_grad():
            losses.next_token(model.eval(), batch.to(device))
        evaluation = time.perf_counter() - began
    del gradients[0], updates[0]  # which warmed up
    return Result(statistics.median(gradients), statistics.median(updates), evaluation, base, peak_bytes())


@dataclass(frozen=True)
class RandomIds:
    """Batches of ids that mean nothing."""

    batch_size: int
    context_length: int
    vocab_size: int

    def batch(self, step: int, rows: slice = slice(None)) -> "Batch":
        import torch

        from groundup.data.batches import Batch

        n = len(range(self.batch_size)[rows])
        generator = torch.Generator().manual_seed(step)
        ids = torch.randint(self.vocab_size, (n, self.context_length + 1), generator=generator)
        return Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), None, n * self.context_length)


def import_what_a_run_does() -> None:
    """So that the memory of code is counted before the first tensor."""
    import contextlib
    import importlib

    names = ("torch._dynamo", "groundup.train.loop", "groundup.evaluate.checkup", "groundup.train.watch", "rich.live")
    for name in (*names, "matplotlib.pyplot"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def resident_bytes() -> int:
    import psutil

    return psutil.Process().memory_info().rss


def peak_bytes() -> int:
    """The most memory that this process ever held."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii", errors="replace").splitlines() if status.exists() else []
    peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    if peaks:
        return peaks[0]
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def kernel_bytes(n: int = 16) -> float:
    """What a process grows by for each shape of a product in bf16, beyond the product itself."""
    import torch

    def multiply(rows: int) -> None:
        _ = torch.ones(rows, 128, dtype=torch.bfloat16) @ torch.ones(128, 96, dtype=torch.bfloat16)

    multiply(256)
    before = resident_bytes()
    for i in range(1, n + 1):
        multiply(256 + i)
    return max(0.0, (resident_bytes() - before) / n)


def main(asked: str, answer: str) -> None:
    specs = [Spec(**spec) for spec in json.loads(Path(asked).read_text(encoding="utf-8"))]
    Path(answer).write_text(json.dumps([asdict(make(spec)) for spec in specs]), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
