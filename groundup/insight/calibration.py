"""What this machine can do, measured in at most half a minute and remembered: the numbers that plans are made with.

    here = calibration.machine()              # measured the first time, then read from the user's cache folder
    here.rate("bf16", "cpu")                  # FLOP/s of a large product of matrices
    calibration.peak_flops(torch.bfloat16, torch.device("cpu"))     # the same, for whoever wants nothing else

What is measured stands for one set of versions, threads and hardware; another set is measured anew.
"""

import hashlib
import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

import groundup
from groundup import artifact, compiled_code
from groundup.insight import trial
from groundup.train.devices import DTYPES, device_for, has_bf16, has_fp16

FORMAT = 1
SIZE_BY_DEVICE = {"cpu": 1536, "cuda": 8192, "mps": 4096}
"""Rows and columns of the product that the peak is measured with: large enough to be limited by nothing else."""
SMALL_STEPS = (
    {"family": "llama", "size": "nano", "rows": 16, "context_length": 128, "fields": {"vocab_size": 1024}},
    {
        "family": "llama", "size": "small", "rows": 8, "context_length": 256,
        "fields": {"vocab_size": 2048, "n_layers": 2},
    },
)  # fmt: skip
"""Steps of training that are really made: one whose time goes to many small operations, one of large products."""
TRIAL_SECONDS = 2.0
"""Each of them is repeated for so long, in every precision."""


@dataclass
class Machine:
    """Rates are per second, sizes in bytes."""

    key: dict[str, Any] = field(default_factory=dict)
    flops: dict[str, float] = field(default_factory=dict)
    """FLOP/s of a large product, by "cpu bf16" and the like."""
    bandwidth: float = 0.0
    """Bytes that one operation on a large tensor reads and writes."""
    efficiency: dict[str, float] = field(default_factory=dict)
    """Share of that rate which the products of a real step reach, by dtype, on the CPU."""
    moving: dict[str, float] = field(default_factory=dict)
    """The bandwidth that the other operations of a real step reach, by dtype."""
    operation_seconds: float = 0.0
    """What any operation takes, however small."""
    disk_rate: float = 0.0
    """Of writing a file and waiting until it is on the disk."""
    base_bytes: float = 0.0
    """Of a process that has imported all that a run needs."""
    kernel_bytes: float = 0.0
    """That oneDNN keeps for each shape of a 16-bit product: the code it compiled."""
    tokenizer_rate: float = 0.0
    """Bytes of text learned from, of a tokenizer with 4096 ids."""
    encoding_rate: float = 0.0
    """Bytes of text encoded, in one process."""
    measured_in: float = 0.0
    """Seconds that all this took."""

    def rate(self, dtype: str, device: str = "cpu") -> float:
        """FLOP/s of a large product; measured now if it is not known."""
        name = f"{device} {dtype}"
        if name not in self.flops:
            self.flops[name] = product_rate(DTYPES[dtype], torch.device(device))
            remember(self)
        return self.flops[name]

    def seconds(self, dtype: str, products: float, moved: float, n_operations: float, device: str = "cpu") -> float:
        """Time of so many FLOPs, bytes moved, and operations, by what steps of a small model took on the CPU."""
        if device != "cpu":  # half of a GPU's peak is usual; one that is not here is taken for 100 TFLOP/s
            return products / (0.5 * self.flops.get(f"{device} {dtype}", 1e14))
        if not self.measured_in:  # a guess, which nobody is told: sizes on disk hang on the number of steps a little
            return products / 1e11 + moved / 2e10 + n_operations * 2e-5
        efficiency, moving = self.efficiency.get(dtype, 0.6), self.moving.get(dtype, self.bandwidth)
        return products / (self.rate(dtype) * efficiency) + moved / moving + n_operations * self.operation_seconds


# --- asking ---


def machine(quick: bool = False, notice: Callable[[str], None] = lambda text: None) -> Machine:
    """This machine as it was measured, or is measured now.

    `quick` never measures: without a measurement the Machine is empty, and `measured_in` 0.
    """
    known = remembered()
    if quick or known.measured_in:
        return known
    notice("measuring this machine, once, for about 25 seconds")
    return remember(measure(known))


def peak_flops(dtype: torch.dtype, device: torch.device) -> float | None:
    """FLOP/s of a large product of this dtype, which MFU is told against; a second's measurement the first time."""
    name = next((name for name, each in DTYPES.items() if each == dtype), None)
    if name is None:
        return None
    try:
        return remembered().rate(name, device.type)
    except RuntimeError:  # a device that does not know such a product
        return None


def path() -> Path:
    """The file in the user's cache folder that holds what was measured for these versions and this hardware."""
    text = json.dumps(key(), sort_keys=True)
    return compiled_code.caches() / f"machine-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def key() -> dict[str, Any]:
    """All that a measurement depends on."""
    names = ("groundup", "torch", "numpy")
    gpus = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    return {
        "format": FORMAT,
        "versions": {name: metadata.version(name) for name in names},
        "python": platform.python_version(),
        "processor": hashlib.sha256(compiled_code.processor().encode()).hexdigest()[:16],
        "n_threads": torch.get_num_threads(),
        "memory": psutil.virtual_memory().total,
        "gpus": gpus,
    }


def remembered() -> Machine:
    """What is known of this machine; an empty Machine if nothing is, or the file is damaged."""
    try:
        stored = json.loads(path().read_text(encoding="utf-8"))
        return Machine(**{one.name: stored[one.name] for one in fields(Machine)})
    except (OSError, RuntimeError, ValueError, TypeError, KeyError):
        return Machine(key=key())


def remember(known: Machine) -> Machine:
    """Keep it for the next time; a cache folder that cannot be written to is no reason to fail."""
    try:
        path().parent.mkdir(parents=True, exist_ok=True)
        artifact.write_file(path(), json.dumps(asdict(known), indent=2) + "\n")
    except (OSError, RuntimeError, groundup.errors.GroundupError):
        pass
    return known


# --- measuring ---


def measure(known: Machine) -> Machine:
    """Everything, in less than half a minute on two cores."""
    began = time.monotonic()
    known.flops = {}  # what `peak_flops` found may have been measured on a busier machine
    cpu, device = torch.device("cpu"), device_for("auto")
    dtypes = ["fp32", *(["bf16"] if has_bf16(cpu) else [])]
    for dtype in dtypes:
        known.rate(dtype)
    if device.type != "cpu":
        here = ["fp32", *(["bf16"] if has_bf16(device) else []), *(["fp16"] if has_fp16(device) else [])]
        for dtype in here:
            known.rate(dtype, device.type)
    known.bandwidth = bandwidth()
    known.operation_seconds = operation_seconds()
    known.disk_rate = disk_rate(Path.cwd())
    known.tokenizer_rate, known.encoding_rate = tokenizer_rates()
    specs = [trial.Spec(**each, precision=dtype, seconds=TRIAL_SECONDS) for dtype in dtypes for each in SMALL_STEPS]
    made = trial.in_child(specs, timeout=120)
    known.base_bytes = made[0].base_bytes
    for dtype in dtypes:
        steps = [(spec, result) for spec, result in zip(specs, made, strict=True) if spec.precision == dtype]
        known.efficiency[dtype], known.moving[dtype] = fitted(known, dtype, steps)
    known.kernel_bytes = trial.kernel_bytes() if "bf16" in dtypes else 0.0
    known.measured_in = time.monotonic() - began
    return known


def best_of(seconds: float, work: Callable[[], object], at_least: int = 3) -> float:
    """The shortest time of `work`, repeated for so many seconds."""
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < at_least or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def product_rate(dtype: torch.dtype, device: torch.device) -> float:
    """FLOP/s of a square product."""
    n = SIZE_BY_DEVICE.get(device.type, 1536)
    a, b = (torch.ones(n, n, dtype=dtype, device=device) for _ in range(2))

    def multiply() -> None:
        _ = a @ b
        wait_for(device)

    multiply()
    return 2 * n**3 / best_of(0.4, multiply)


def wait_for(device: torch.device) -> None:
    """A GPU works on its own; its clock is read when it is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def bandwidth() -> float:
    """Bytes per second of adding two vectors that no cache holds: two are read and one is written."""
    a, b = (torch.ones(16_000_000) for _ in range(2))
    out = torch.empty_like(a)
    return 12 * len(a) / best_of(0.3, lambda: torch.add(a, b, out=out))


def operation_seconds() -> float:
    """One operation on next to nothing, forward and backward, with what Python and autograd do around it."""
    x = torch.ones(8, requires_grad=True)

    def many() -> None:
        y: Tensor = x
        for _ in range(50):
            y = y * 1.0
        y.sum().backward()

    return best_of(0.2, many) / 100


def disk_rate(folder: Path) -> float:
    """Bytes per second of writing 64 MB to the disk of `folder` and waiting for it, with a checksum as a save makes."""
    block = os.urandom(1 << 20)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            began = time.perf_counter()
            digest = hashlib.sha256()
            for _ in range(64):
                file.write(block)
                digest.update(block)
            file.flush()
            os.fsync(file.fileno())
            return 64 * len(block) / (time.perf_counter() - began)
    except OSError:
        return 200e6


def tokenizer_rates() -> tuple[float, float]:
    """Bytes per second of training a small tokenizer on the built-in stories, and of encoding them."""
    from groundup.text import stories
    from groundup.tokenizer import train

    texts = [document.text for document in stories.documents(0, 600_000)]
    n_bytes = sum(len(text.encode()) for text in texts)
    began = time.perf_counter()
    tokenizer = train.train(texts, 2048)
    trained = time.perf_counter()
    for text in texts:
        tokenizer.encode(text)
    return n_bytes / (trained - began), n_bytes / (time.perf_counter() - trained)


def fitted(known: Machine, dtype: str, steps: list[tuple[trial.Spec, trial.Result]]) -> tuple[float, float]:
    """(share of the peak that products reach, bandwidth of the rest): two real steps, two unknowns.

    Where the two times contradict each other, as on a machine that others use too, one share explains both.
    """
    from groundup.insight.rehearsal import rehearse

    rows = []
    for spec, result in steps:
        played = rehearse(spec.shape, spec.train, rows=spec.rows, context_length=spec.context_length, precision=dtype)
        work = played.gradients
        left = max(0.2 * result.gradients, result.gradients - work.n_operations * known.operation_seconds)
        rows.append((work.flops / known.rate(dtype), work.moved / known.bandwidth, left))
    (a, b, s), (c, d, t) = rows
    determinant = a * d - b * c
    if determinant:
        slower_products, slower_moves = (s * d - b * t) / determinant, (a * t - s * c) / determinant
        if 0.8 < slower_products < 10 and 0.2 < slower_moves < 20:
            return 1 / slower_products, known.bandwidth / slower_moves
    slower = math.sqrt((s / (a + b)) * (t / (c + d)))
    return 1 / slower, known.bandwidth / slower
