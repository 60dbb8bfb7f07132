"""Measure this machine: the benchmarks of a clone into its BENCHMARK.md, or a quick table of what to expect."""

import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import groundup
from groundup.errors import EnvironmentFault, GroundupError, UsageError

SIZES = ("nano", "micro", "mini")
QUICK_SECONDS = 3.0  # of training, and of generation, for each size
QUICK_IDS = 64


@dataclass(frozen=True)
class Config:
    """What `groundup bench` can be told."""

    names: tuple[str, ...] = field(default=(), metadata={"positional": True})
    """which ones: the scripts of benchmarks/ by name; by default all that can run here"""
    list: bool = False
    """name the benchmarks and say what each measures"""
    quick: bool = False
    """a table of this machine in a minute: tokens/s of training and inference, and memory; needs no clone"""
    json: bool = False
    """one object a row on stdout, and BENCHMARK.md stays as it is"""
    quiet: bool = False
    """no remarks"""
    dry_run: bool = False
    """print the commands that would run"""


def run(config: Config) -> None:
    """Every benchmark checks that both sides did the same work before it times them; see the page it writes."""
    if config.quick:
        quick(config)
        return
    scripts = benchmarks()
    if unknown := [name for name in config.names if name not in scripts]:
        raise UsageError(f"there is no benchmark {unknown[0]}", hint=f"there are {', '.join(scripts)}")
    wanted = config.names or tuple(name for name in scripts if name != "gpu" or has_gpu())
    if config.list:
        print_list(scripts, config.json)
        return
    failed = []
    for name in wanted:
        command = [sys.executable, str(scripts[name]), "--json" if config.json else "--write"]
        if config.dry_run:
            print(" ".join(command))
            continue
        if not config.quiet:
            print(f"{name} ...", file=sys.stderr, flush=True)
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if failed:
        raise GroundupError(
            f"{len(failed)} of {len(wanted)} benchmarks have rows that failed: {', '.join(failed)}",
            hint="the rows say why; what a benchmark compares with is installed by pip install -e '.[bench,test]'",
        )


def benchmarks() -> dict[str, Path]:
    """The scripts beside the package that can write a section of BENCHMARK.md, by name."""
    folder = Path(groundup.__file__).parent.parent / "benchmarks"
    if not (folder / "harness.py").is_file():
        raise EnvironmentFault(
            "the benchmarks are not part of the installed package",
            hint="clone the repository and run there; groundup bench --quick needs no clone",
        )
    files = sorted(folder.glob("*.py"))
    return {file.stem: file for file in files if '"--write"' in file.read_text(encoding="utf-8")}


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def print_list(scripts: dict[str, Path], as_json: bool) -> None:
    import ast

    import orjson

    abouts = {
        name: (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]
        for name, file in scripts.items()
    }
    if as_json:
        print(orjson.dumps(abouts).decode())
        return
    width = max(map(len, abouts))
    print("\n".join(f"{name.ljust(width)}  {about}" for name, about in abouts.items()))


# --- the quick table ---


def quick(config: Config) -> None:
    """Llamas of three sizes, trained and asked for text on this machine, each for some seconds."""
    import orjson

    from groundup.insight.text_table import text_table
    from groundup.train.watch import quantity

    if config.dry_run:
        print("would train and run Llamas of the sizes " + ", ".join(SIZES))
        return
    rows = []
    for size in SIZES:
        if not config.quiet:
            print(f"{size} ...", file=sys.stderr, flush=True)
        rows.append(quick_row(size))
    if config.json:
        print("\n".join(orjson.dumps(row).decode() for row in rows))
        return
    header = ("Llama", "parameters", "computed in", "training", "generating", "most memory")
    cells = [
        (
            row["size"], quantity(row["n_parameters"]), f"{row['dtype']} on {row['device']}",
            f"{row['training']:,.0f} tokens/s", f"{row['generating']:,.0f} tokens/s", quantity(row["memory"], "B"),
        )
        for row in rows
    ]  # fmt: skip
    print(text_table(header, cells))


def quick_row(size: str, seconds: float = QUICK_SECONDS) -> dict[str, Any]:
    """Tokens per second of the training loop's own steps, and of generation one after the other; bytes of memory."""
    import torch

    from groundup import models
    from groundup.data.batches import Batch
    from groundup.inference import engine
    from groundup.inference.settings import Settings
    from groundup.insight.memory import PeakMemory
    from groundup.train import losses
    from groundup.train.config import TrainConfig
    from groundup.train.devices import device_for, dtype_for
    from groundup.train.distributed import World
    from groundup.train.step import Stepper

    device = device_for("auto")
    train = TrainConfig(batch_size=8)
    model = models.build("llama", size, {}, seed=0).to(device)
    context_length = models.shape_of(model).context_length
    ids = torch.randint(
        models.shape_of(model).vocab_size, (train.batch_size, context_length + 1),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip

    class Batches:
        def batch(self, step: int, rows: slice = slice(None)) -> Batch:
            return Batch(ids[rows, :-1], ids[rows, 1:].contiguous(), None, ids[rows, 1:].numel())

    with PeakMemory() as memory:
        stepper = Stepper(model, Batches(), losses.next_token, train, World(device))

        def step() -> None:
            stepper.gradients(0)  # which waits for the device: it asks for the norm
            stepper.update(0.0, 1000)

        training = ids[:, 1:].numel() * calls_per_second(step, seconds)
        settings = Settings(temperature=0.0, max_new_tokens=QUICK_IDS)
        prompt = ids[0, :8].tolist()
        generating = QUICK_IDS * calls_per_second(lambda: engine.generate(model, [prompt], settings), seconds)
    return {
        "size": size, "n_parameters": sum(weight.numel() for weight in model.parameters()),
        "dtype": str(dtype_for(train.precision, device)).removeprefix("torch."), "device": str(device),
        "training": round(training), "generating": round(generating), "memory": round(1e6 * memory.megabytes),
    }  # fmt: skip


def calls_per_second(work: Any, seconds: float) -> float:
    """How often `work` can be done: counted for so long, after a first call that does not count."""
    work()
    began = time.perf_counter()
    n_calls = 0
    while not n_calls or time.perf_counter() - began < seconds:
        work()
        n_calls += 1
    return n_calls / (time.perf_counter() - began)
