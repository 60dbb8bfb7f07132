"""A plan: what a training run will take, before it starts, and another configuration where it takes too much.

    plan = estimate(config, calibration.machine())      # a pretraining Config
    plan.seconds.total, plan.memory.total, plan.disk.peak, plan.faults
    before_run(shape, train, context_length=..., run_dir=..., n_tokens=...)   # one paragraph, or an EnvironmentFault

Exact are parameters, FLOPs, bytes of weights, state and checkpoints. Estimated are seconds, what malloc holds, and the
number of tokens in raw text. docs/plan.md shows how near the estimates came.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from groundup import models
from groundup.errors import EnvironmentFault, UsageError
from groundup.insight import plan_corpus, plan_costs, trial
from groundup.insight.calibration import Machine
from groundup.insight.plan_corpus import Corpus
from groundup.insight.plan_costs import Disk, Memory, Run, Seconds
from groundup.insight.rehearsal import Rehearsal, rehearse
from groundup.train.config import TrainConfig
from groundup.train.devices import DTYPES, device_for, dtype_for

TOKENS_PER_PARAMETER = 20
"""Where a larger model would need more text to be worth it. Hoffmann et al. 2022 (Chinchilla), arXiv 2203.15556."""
TRIAL_SECONDS = 12.0
"""A trial is made where it should take less."""
ROOM = 0.95
"""Share of the memory there is that a plan may take."""


@dataclass(frozen=True)
class Plan:
    """What one configuration takes, of which device and precision, and why it cannot be, if it cannot."""

    run: Run
    corpus: Corpus | None
    rehearsal: Rehearsal
    n_parameters: int
    flops_per_token: float
    memory: Memory
    seconds: Seconds
    disk: Disk
    memory_limit: float
    disk_free: float
    faults: tuple[str, ...]

    @property
    def n_tokens(self) -> float:
        """Tokens seen in the run."""
        return float(self.seconds.n_steps * self.run.tokens_per_step)

    @property
    def tokens_per_parameter(self) -> float:
        return self.n_tokens / self.n_parameters

    @property
    def epochs(self) -> float | None:
        """How often the text is seen."""
        return self.n_tokens / self.corpus.n_tokens if self.corpus and self.corpus.n_tokens else None


def estimate(
    config: Any,
    machine: Machine,
    *,
    tries: bool = True,
    memory_limit: float = 0.0,
    device: str = "",
    corpus: Corpus | None = None,
) -> Plan:
    """The plan of a pretraining Config. With `tries`, a few steps are made where that is a matter of seconds.

    `memory_limit` in bytes takes the place of what the machine has; `device` "cuda" plans for a GPU that is not here.
    UsageError for a shape that cannot be; DataError where there is no text.
    """
    corpus = corpus or (plan_corpus.look(config) if config.data else None)
    shape = shape_of(config, corpus)
    run = run_of(shape, config.train, config.context_length, config.val_rows, bool(config.prompt), device=device)
    run_dir = Path(config.run_dir or "runs")
    return of_run(run, machine, corpus, run_dir, tries=tries, memory_limit=memory_limit)


def shape_of(config: Any, corpus: Corpus | None) -> Any:
    """The Config of the model that is asked for."""
    if config.init_from:
        from groundup.weights import checkpoint

        return checkpoint.open_portable(config.init_from).config
    vocab_size = corpus.vocab_size if corpus else config.vocab_size
    fields = {"context_length": config.context_length, **config.arch, "vocab_size": vocab_size}
    try:
        return models.change(models.preset(config.model, config.size), fields)
    except ValueError as error:
        raise UsageError(str(error), hint="groundup model info shows the sizes there are") from error


def run_of(
    shape: Any, train: TrainConfig, context_length: int, val_rows: int, has_prompt: bool,
    *, is_packed: bool = False, device: str = "",
) -> Run:  # fmt: skip
    """With the device and the precision that the names in `train` come to here."""
    kind = device or device_for(train.device).type
    if device in ("", kind) and (device == "" or device_is_here(device)):
        dtype = dtype_for(train.precision, torch.device(kind))
        precision = next(name for name, each in DTYPES.items() if each == dtype)
    else:
        precision = "bf16" if train.precision == "auto" else train.precision
    return Run(shape, train, context_length, val_rows, has_prompt, is_packed, kind, precision)


def device_is_here(device: str) -> bool:
    return device == "cpu" or (device == "cuda" and torch.cuda.is_available())


def of_run(
    run: Run, machine: Machine, corpus: Corpus | None, run_dir: Path, *, tries: bool, memory_limit: float = 0.0
) -> Plan:
    """All costs of a run, and what speaks against it."""
    train = run.train
    played = play(run)
    limit = memory_limit or plan_costs.limit_bytes(run.device)
    tried = try_out(run, played, machine, limit) if tries and run.device == "cpu" else None

    step = plan_costs.step_seconds(run, played, machine, tried)
    n_rows = float(run.val_rows or 256)
    if corpus:
        n_rows = min(n_rows, max(1.0, 0.05 * corpus.n_tokens / run.context_length))
    evaluation = plan_costs.evaluation_seconds(run, played, machine, tried, n_rows)
    saved = 4 * plan_costs.n_parameters(run.shape) + plan_costs.state_bytes(run, played)
    save = saved / (machine.disk_rate or 200e6)

    n_steps = train.n_steps
    n_evaluations = plan_costs.N_EVALUATIONS + 1
    if train.minutes:
        n_steps = max(1, int((60 * train.minutes - n_evaluations * evaluation) / step))
    if train.eval_every:
        n_evaluations = n_steps // train.eval_every + 1
    every = train.save_every or train.eval_every or math.ceil(n_steps / plan_costs.N_EVALUATIONS)
    n_saves = max(math.ceil(n_steps / every), int(n_steps * step / (60 * train.save_minutes or math.inf)))
    seconds = Seconds(
        {
            **before_training(corpus, machine),
            "training": n_steps * step,
            "evaluations": n_evaluations * evaluation,
            "checkpoints": save,  # those before the last are written beside the training
        },
        step, evaluation, n_steps, tried is not None,
    )  # fmt: skip
    made = {}
    if corpus and not corpus.is_prepared:
        made = {"tokenizer": 0.0 if corpus.has_tokenizer else corpus.tokenizer_bytes, "shards": corpus.shard_bytes}
    disk = plan_costs.disk(run, played, n_steps, made, n_saves)
    mapped = 0.0 if corpus is None else min(
        corpus.n_tokens * corpus.token_bytes, float(n_steps * train.batch_size) * plan_costs.PAGES
    )  # fmt: skip
    memory = plan_costs.memory(run, played, machine, tried, mapped, save)
    free = plan_costs.free_bytes(run_dir)
    flops = (played.gradients.flops / played.n_micro_batches) / (run.rows * run.context_length)
    return Plan(
        run, corpus, played, plan_costs.n_parameters(run.shape), flops, memory, seconds, disk, limit, free,
        tuple(faults(memory, disk, limit, free)),
    )  # fmt: skip


def play(run: Run) -> Rehearsal:
    return rehearse(
        run.shape, run.train, rows=run.rows, context_length=run.context_length, precision=run.precision,
        device=run.device, n_micro_batches=run.n_micro_batches, is_packed=run.is_packed,
        evaluation_rows=min(run.train.batch_size, 32),
    )  # fmt: skip


def try_out(run: Run, played: Rehearsal, machine: Machine, limit: float) -> trial.Result | None:
    """A few steps of micro-batches of this size, where memory and patience allow; else None."""
    once = machine.seconds(run.precision, played.gradients.flops + played.update.flops, played.gradients.moved, 1000)
    needed = played.resident + 700e6
    if run.is_packed or 3 * once > TRIAL_SECONDS or needed > 0.8 * min(limit, plan_costs.limit_bytes()):
        return None
    settings = {f.name: getattr(run.train, f.name) for f in dataclasses.fields(run.train)}
    for name in ("batch_size", "micro_batch_size", "precision"):
        settings.pop(name)
    family = models.name_of(run.shape)
    spec = trial.Spec(
        family=family, size=next(iter(models.family(family).PRESETS)), rows=run.rows,
        context_length=run.context_length, fields=dataclasses.asdict(run.shape), precision=run.precision,
        settings=settings, n_micro_batches=played.n_micro_batches, evaluation_rows=min(run.train.batch_size, 32),
    )  # fmt: skip
    try:
        return trial.in_child([spec], timeout=10 * TRIAL_SECONDS)[0]
    except EnvironmentFault:
        return None


def before_training(corpus: Corpus | None, machine: Machine) -> dict[str, float]:
    """Seconds of making a tokenizer and shards, where they are to be made."""
    import os

    from groundup.data.from_text import TOKENIZER_BYTES

    if corpus is None or corpus.is_prepared or not machine.encoding_rate:
        return {}
    learned = 0.0 if corpus.has_tokenizer else min(corpus.n_bytes, TOKENIZER_BYTES)
    n_processes = os.cpu_count() or 1
    return {
        "tokenizer": learned / machine.tokenizer_rate,
        "shards": corpus.n_bytes / machine.encoding_rate / n_processes,
    }


def faults(memory: Memory, disk: Disk, limit: float, free: float) -> list[str]:
    """Why a run cannot be, in words."""
    found = []
    if memory.total > ROOM * limit:
        found.append(f"it needs {gb(memory.total)} of memory, and there are {gb(limit)}")
    if disk.peak > free:
        found.append(f"it needs {gb(disk.peak)} of disk, and {gb(free)} are free")
    return found


def gb(n_bytes: float) -> str:
    """1.23 GB, of 10^9 bytes; MB and kB below one."""
    if n_bytes >= 1e9:
        return f"{n_bytes / 1e9:.2f} GB"
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:.0f} kB"


def before_run(
    shape: Any, train: TrainConfig, *, context_length: int, run_dir: Path | str, n_tokens: float = 0,
    val_rows: int = 64, is_packed: bool = False,
) -> str:  # fmt: skip
    """One paragraph about the run that is to start; EnvironmentFault if its memory or disk cannot be enough.

    Well under a second and without a measurement: seconds are told only if the machine was measured before. Refused is
    what exceeds the limit for certain: tensors and the program, without what malloc may hold beyond them.
    """
    from groundup.insight import calibration, plan_choice

    machine = calibration.machine(quick=True)
    run = run_of(shape, train, context_length, val_rows, True, is_packed=is_packed)
    plan = of_run(run, machine, None, Path(run_dir), tries=False)
    certain = plan.rehearsal.peak + plan.memory.terms.get("Python, PyTorch and groundup", 0.0)
    if run.device == "cpu" and certain > plan.memory_limit:
        found = plan_choice.that_fits(plan, machine)
        raise EnvironmentFault(
            f"this run needs {gb(plan.memory.total)} of memory, and there are {gb(plan.memory_limit)}",
            hint=f"it fits with {found.flags}" if found else "groundup plan --memory 8GB proposes a model that fits",
        )
    if plan.disk.peak > plan.disk_free:
        raise EnvironmentFault(
            f"this run writes {gb(plan.disk.peak)} at most, and {gb(plan.disk_free)} are free",
            where=str(run_dir),
            hint="free some space, choose another disk with --run-dir, or keep fewer checkpoints with --keep",
        )
    words = [f"{plan.n_parameters / 1e6:.1f}M parameters, {run.precision} on {run.device}"]
    if machine.measured_in:
        words.append(f"about {plan.seconds.step:.2g} s a step" + ("" if train.minutes else f", {hours(plan)} in all"))
    words.append(f"{gb(plan.memory.total)} of memory, {gb(plan.disk.peak)} of disk")
    text = "; ".join(words)
    if not train.minutes:
        text += f"; {plan.tokens_per_parameter:.1f} tokens per parameter ({TOKENS_PER_PARAMETER} are a good measure)"
        if n_tokens and plan.n_tokens > 4 * n_tokens:
            text += f"; the text is seen {plan.n_tokens / n_tokens:.1f} times"
    return text


def hours(plan: Plan) -> str:
    return duration(plan.seconds.total)


def duration(seconds: float) -> str:
    """90 s, 12 min, 3.4 h, 2.1 days"""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
